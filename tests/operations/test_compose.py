"""compose.yaml: every profile resolves, and what it starts keeps the house rules."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.operations.programs import output, program
from tests.stack import ROOT
from tests.test_architecture import documented_settings

SECRET = r"(?:^|_)(?:PASSWORD|SECRET|KEY|WEBHOOK|SLACK|DATABASE_URL|REDIS_URL|REPLICA_URL)(?:_|$)"
COMPOSE = Path(sys.executable).parent / "docker-compose"
PROFILES = ("", "tls", "tracing", "replica", "backup")
ONE_SHOT = {"migrate-users", "migrate-analytics", "textfile-owner", "caddy-owner"}
# Whose a volume is depends on which container came first; ports below 1024 and a program's own.
CAPABILITIES = {
    "textfile-owner": ["FOWNER"], "caddy-owner": ["CHOWN"], "caddy": ["NET_BIND_SERVICE"],
}  # fmt: skip
APP_PORTS = {"8000", "8001", "8002"}
OUTER_PORTS = {"DASHBOARD_PORT": 8000, "USERS_PORT": 8001, "ANALYTICS_PORT": 8002}
LISTED = {"user-db", "analytics-db", "users", "relay", "analytics", "maintenance", "dashboard"} | {
    "redis", "gateway", "prometheus", "alertmanager", "grafana", "node-exporter",
    "blackbox-exporter",
}  # fmt: skip


# What .env says that compose.yaml doesn't take, and why.
ITS_OWN_SECRETS = {
    "USERS_DATABASE_URL", "ANALYTICS_DATABASE_URL", "ANALYTICS_REPLICA_URL", "REDIS_URL",
    "SECRET_KEY", "CLIENT_ADDRESS_SECRET", "JWT_PRIVATE_KEY", "SMTP_PASSWORD",
}  # fmt: skip  # files that ops/make-secrets.sh makes
ITS_OWN_ADDRESSES = {
    "USERS_URL", "ANALYTICS_URL",  # the services' names inside the composition, by http://
    "REQUESTS_CA_BUNDLE",  # so nothing there is signed
    "BIND_HOST", "PORT",  # inside a container; PUBLISH_ADDRESS and the three ports are outside
}  # fmt: skip
ITS_OWN_DIRECTORIES = {
    "MAIL_DIR", "SESSION_DIR", "BROWSER_DIR", "ASSETS_DIR", "LIVENESS_DIR",  # the images'
    "PROMETHEUS_MULTIPROC_DIR",  # each app's own
}  # fmt: skip
NOT_TAKEN = ITS_OWN_SECRETS | ITS_OWN_ADDRESSES | ITS_OWN_DIRECTORIES


@cache
def resolved(*profiles: str, env_file: Path = Path(os.devnull)) -> dict[str, Any]:
    """Returns the file as Compose itself understands it."""
    words = [word for name in profiles if name for word in ("--profile", name)]
    words += ["--env-file", str(env_file)]
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    done = subprocess.run(
        [COMPOSE, *words, "config", "--format", "json"],
        cwd=ROOT, env=environment, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    document: dict[str, Any] = yaml.safe_load(done.stdout)
    return document


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = resolved(*PROFILES)["services"]
    return found


EVERY = sorted(services())


@pytest.mark.parametrize("profile", PROFILES)
def test_compose_resolves_each_profile(profile: str) -> None:
    assert set(resolved(profile)["services"]) >= LISTED


def test_each_profile_adds_its_services() -> None:
    plain = set(resolved("")["services"])
    assert plain == LISTED | {"migrate-users", "migrate-analytics"}
    added = {name: set(resolved(name)["services"]) - plain for name in PROFILES[1:]}
    assert added == {
        "tls": {"caddy", "caddy-owner"},
        "tracing": {"jaeger"},
        "replica": {"analytics-replica"},
        "backup": {"user-backup", "analytics-backup", "textfile-owner"},
    }


@pytest.mark.parametrize("name", EVERY)
def test_a_service_is_contained_limited_and_its_log_rotates(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add") == CAPABILITIES.get(name)
    assert not service.get("privileged")
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory", "pids"} <= service["deploy"]["resources"]["limits"].keys()
    assert service["logging"]["options"].keys() >= {"max-size", "max-file"}
    assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")


@pytest.mark.parametrize("name", EVERY)
def test_a_service_has_a_health_check_and_waits_by_condition(name: str) -> None:
    service = services()[name]
    if name in ONE_SHOT:
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["healthcheck"]["test"]
        assert {"interval", "timeout", "retries", "start_period"} <= service["healthcheck"].keys()
    for other, how in service.get("depends_on", {}).items():
        wanted = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert how["condition"] == wanted


def test_the_health_checks_on_the_way_in_go_by_no_proxy() -> None:
    """Docker hands the machine's proxies on to containers, where it is told of any."""
    words = services()["gateway"]["healthcheck"]["test"]
    assert words[1:4] == ["curl", "--noproxy", "*"]
    words = services()["caddy"]["healthcheck"]["test"]
    assert words[1:5] == ["env", "-u", "http_proxy", "wget"]


def test_apps_start_only_after_their_migration() -> None:
    for name, migration in (
        ("users", "migrate-users"),
        ("relay", "migrate-users"),
        ("analytics", "migrate-analytics"),
        ("maintenance", "migrate-analytics"),
    ):
        assert migration in services()[name]["depends_on"]


@pytest.mark.parametrize("name", EVERY)
def test_secrets_come_as_files_and_never_as_text(name: str) -> None:
    for variable, value in (services()[name].get("environment") or {}).items():
        if re.search(SECRET, variable):
            assert variable.endswith("_FILE"), variable
            assert value in ("", None) or value.startswith("/run/secrets/"), variable
            given = {each["target"] for each in services()[name].get("secrets", [])}
            if value:
                assert value.removeprefix("/run/secrets/") in {Path(each).name for each in given}


def test_images_have_a_version() -> None:
    for name, service in services().items():
        _, separator, tag = service["image"].partition("@")[0].rpartition(":")
        assert separator, name
        if not service["image"].startswith("footfall-"):
            assert tag != "latest", name


def test_the_gateway_publishes_the_apps_and_all_but_caddy_is_on_loopback() -> None:
    for name, service in services().items():
        for port in service.get("ports", []):
            assert port["host_ip"] == ("0.0.0.0" if name == "caddy" else "127.0.0.1"), name
            assert (name == "gateway") == (port["published"] in APP_PORTS)
    assert {each["published"] for each in services()["caddy"]["ports"]} == {"80", "443"}
    assert {each["published"] for each in services()["gateway"]["ports"]} == APP_PORTS


def test_databases_are_reached_only_from_their_own_network() -> None:
    document = resolved(*PROFILES)
    for database, network in (("user-db", "user-data"), ("analytics-db", "analytics-data")):
        assert list(services()[database]["networks"]) == [network]
        assert document["networks"][network]["internal"] is True
        members = {
            name for name, each in services().items() if network in (each.get("networks") or {})
        }
        assert not members & {"gateway", "dashboard", "prometheus", "grafana"}


def read_by() -> dict[str, set[str]]:
    """Returns what each service reads from its environment, by the source of each."""
    from analytics_app.config import AnalyticsSettings
    from dashboard_app.config import DashboardSettings
    from users_app.config import UsersSettings

    gunicorn = names_in("gunicorn.conf.py", r'(?:environ\.get|setting|number)\("([A-Z_]+)"')
    chassis = names_in("chassis/client.py", r'environ\.get\("([A-Z_]+)"')
    read = {}
    for cls, server, worker in (
        (UsersSettings, "users", "relay"),
        (AnalyticsSettings, "analytics", "maintenance"),
        (DashboardSettings, "dashboard", None),
    ):
        own = {field.upper() for field in cls.model_fields} | chassis
        read[server] = own | gunicorn
        if worker:
            read[worker] = own
    for name in ("alertmanager", "prometheus", "caddy"):
        read[name] = names_in(f"ops/{name}/start.sh", r"\$\{?([A-Z][A-Z_]+)")
    return read


def names_in(source: str, pattern: str) -> set[str]:
    found = set(re.findall(pattern, (ROOT / source).read_text()))
    assert found, source
    return found


def given_to(service: dict[str, Any]) -> dict[str, str]:
    """Returns the variables that a container gets, as they are there: `$` stands for itself."""
    environment = service.get("environment") or {}
    return {
        name: value.replace("$$", "$") for name, value in environment.items() if value is not None
    }


@pytest.fixture(scope="module")
def sentinels() -> dict[str, str]:
    """Returns a value for each setting that only quoting keeps whole."""
    return {
        name: str(9000 + n) if name in OUTER_PORTS else f'{name} $HOME ${{X}} $$ "a" \\n #{n}'
        for n, name in enumerate(sorted(documented_settings()))
    }


@pytest.fixture(scope="module")
def with_sentinels(sentinels: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Returns what Compose makes of a .env that gives each setting a value of its own."""
    path = tmp_path_factory.mktemp("settings") / ".env"
    path.write_text("".join(f"{name}='{value}'\n" for name, value in sentinels.items()))
    return resolved(*PROFILES, env_file=path)["services"]


@pytest.mark.parametrize("name", sorted(documented_settings() - NOT_TAKEN - set(OUTER_PORTS)))
def test_a_setting_reaches_each_service_that_reads_it_as_it_was_written(
    name: str, sentinels: dict[str, str], with_sentinels: dict[str, Any]
) -> None:
    readers = {service for service, read in read_by().items() if name in read}
    holders = {
        service for service, each in with_sentinels.items()
        if given_to(each).get(name) == sentinels[name]
    }  # fmt: skip
    assert readers
    assert holders == readers


def test_the_ports_are_where_the_gateway_is_published(
    sentinels: dict[str, str], with_sentinels: dict[str, Any]
) -> None:
    published = {each["target"]: each["published"] for each in with_sentinels["gateway"]["ports"]}
    assert published == {port: sentinels[name] for name, port in OUTER_PORTS.items()}
    given = resolved(*PROFILES)["services"]
    assert given_to(given["dashboard"])["PUBLIC_URL"] == "http://127.0.0.1:8000"


def test_the_names_of_the_apps_say_where_people_reach_them(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("DASHBOARD_HOST=a.example\nANALYTICS_HOST=c.example\nUSERS_HOST=b.example\n")
    found = resolved(*PROFILES, env_file=path)["services"]
    for name in ("users", "relay", "dashboard", "prometheus"):
        assert given_to(found[name])["PUBLIC_URL"] == "https://a.example"
    for name in ("dashboard", "prometheus"):
        assert given_to(found[name])["ANALYTICS_PUBLIC_URL"] == "https://c.example"
    path = tmp_path / "own"
    path.write_text("DASHBOARD_HOST=a.example\nPUBLIC_URL=https://other.example\n")
    found = resolved(*PROFILES, env_file=path)["services"]
    assert given_to(found["users"])["PUBLIC_URL"] == "https://other.example"


def test_nothing_that_the_composition_decides_comes_from_outside(
    sentinels: dict[str, str], with_sentinels: dict[str, Any]
) -> None:
    rendered = json.dumps(with_sentinels)
    leaked = {name for name in NOT_TAKEN if re.search(rf"(?<![A-Z_]){name} \$", rendered)}
    assert leaked == set()
    assert documented_settings() >= NOT_TAKEN


def test_a_setting_that_nobody_gave_has_its_usual_value_in_the_app() -> None:
    """Alone those differ that the gateway, the ports or a server that runs for months decide."""
    usual = {"TRUSTED_PROXIES", "PUBLIC_URL", "ANALYTICS_PUBLIC_URL", "WEB_MAX_REQUESTS"}
    for name in read_by():
        given = set(given_to(resolved(*PROFILES)["services"][name]))
        assert given & (documented_settings() - NOT_TAKEN) <= usual


def test_every_variable_is_one_that_the_app_reads() -> None:
    read = read_by()
    read["migrate-users"], read["migrate-analytics"] = read["relay"], read["maintenance"]
    for name, known in read.items():
        given = {each.removesuffix("_FILE") for each in services()[name]["environment"]}
        assert given <= known | {"OTEL_EXPORTER_OTLP_ENDPOINT"}, name


def test_the_secrets_script_makes_every_file_that_is_mounted_and_keeps_it(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    script = ROOT / "ops" / "make-secrets.sh"
    output(script, tmp_path / "made")
    first = {path.name: path.read_text() for path in (tmp_path / "made").iterdir()}
    wanted = {Path(each["file"]).name for each in resolved(*PROFILES)["secrets"].values()}
    assert set(first) == wanted
    empty = {name for name, text in first.items() if not text}
    assert empty == {"smtp_password", "alert_webhook_url", "alert_slack_url"}
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700
    (tmp_path / "made" / "redis_users_password").unlink()
    (tmp_path / "made" / "smtp_password").write_text("filled in")
    output(script, tmp_path / "made")
    again = {path.name: path.read_text() for path in (tmp_path / "made").iterdir()}
    changed = {name for name in wanted if first[name] != again[name]}
    assert changed == {"redis_users_password", "smtp_password"}
    assert again["smtp_password"] == "filled in"


def test_each_app_is_given_its_own_user_of_redis(tmp_path: Path) -> None:
    output(ROOT / "ops" / "make-secrets.sh", tmp_path)
    for app, name in (("users", "users"), ("relay", "users"), ("analytics", "analytics"),
                      ("maintenance", "analytics"), ("dashboard", "dashboard")):  # fmt: skip
        given = {each["source"] for each in services()[app]["secrets"] if "redis" in each["source"]}
        assert given == {f"{name}_redis_url"}
        password = (tmp_path / f"redis_{name}_password").read_text().strip()
        url = (tmp_path / f"{name}_redis_url").read_text().strip()
        assert url == f"redis://footfall-{name}:{password}@redis:6379/0"


def test_the_secrets_are_strong_enough_for_the_apps(tmp_path: Path) -> None:
    from chassis.config import load
    from users_app.config import UsersSettings

    output(ROOT / "ops" / "make-secrets.sh", tmp_path)
    names = {
        "USERS_DATABASE_URL_FILE": "users_database_url",
        "SECRET_KEY_FILE": "users_secret_key",
        "CLIENT_ADDRESS_SECRET_FILE": "client_address_secret",
        "JWT_PRIVATE_KEY_FILE": "jwt_private_key",
    }
    settings = load(UsersSettings, {name: str(tmp_path / file) for name, file in names.items()})
    assert settings.users_database_url.startswith("postgresql+psycopg2://users:")


def test_the_shell_scripts_have_no_finding() -> None:
    scripts = [path for each in ("ops", "tests") for path in sorted((ROOT / each).rglob("*.sh"))]
    scripts.append(ROOT / ".ci" / "run")
    assert len(scripts) > 8
    output(program("shellcheck"), "-x", "-P", ROOT, *scripts)
