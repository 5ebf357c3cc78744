"""The house rules as tests: who imports whom, what is documented, what starts alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import grimp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel

from tests.stack import ROOT, private_key

PACKAGES = ("chassis", "users_app", "analytics_app", "dashboard_app")
APPS = PACKAGES[1:]
STRONG = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    sorter = TopologicalSorter(
        {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    )
    try:
        sorter.prepare()
    except CycleError as error:
        pytest.fail("import circle: " + " -> ".join(error.args[1]))


@pytest.mark.parametrize("app", APPS)
def test_each_app_starts_with_only_what_its_image_holds(app: str, tmp_path: Path) -> None:
    parts = ["chassis", app] + (["templates", "static"] if app == "dashboard_app" else [])
    for part in parts:
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    name = app.removesuffix("_app").upper()
    environment = {
        "PYTHONPATH": str(tmp_path),
        f"{name}_DATABASE_URL": f"sqlite:///{tmp_path}/x.db",
        "JWT_PRIVATE_KEY": private_key(),
        "SECRET_KEY": STRONG,
        "CLIENT_ADDRESS_SECRET": STRONG,
        "USERS_URL": "http://127.0.0.1:1",
        "ANALYTICS_URL": "http://127.0.0.1:1",
        "PUBLIC_URL": "http://127.0.0.1:1",
        "SESSION_DIR": str(tmp_path / "sessions"),
        "MAIL_DIR": str(tmp_path / "mail"),
    }
    absent = f"import sys; sys.modules.update(dict.fromkeys({not_required_by(app)}))"
    program = f"{absent}; import {app}; print(len(list({app}.create_app().url_map.iter_rules())))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=tmp_path, env=environment, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.splitlines()[-1]) > 3


def not_required_by(app: str) -> list[str]:
    """Returns the modules installed here that are none of what the app requires."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"][app.removesuffix("_app")]
    required = closure(project["dependencies"] + extra) | {project["name"]}
    return [
        module
        for module, names in packages_distributions().items()
        if required.isdisjoint(canonicalize_name(name) for name in names)
    ]


def closure(requirements: list[str]) -> set[str]:
    """Returns the names of these distributions and of all that they require in turn."""
    found: set[tuple[str, str]] = set()
    pending = [Requirement(each) for each in requirements]
    while pending:
        each = pending.pop()
        for extra in {"", *each.extras}:
            if (key := (canonicalize_name(each.name), extra)) not in found:
                found.add(key)
                pending += required_by(*key)
    return {name for name, _ in found}


def required_by(name: str, extra: str) -> list[Requirement]:
    wanted = [Requirement(each) for each in requires(name) or []]
    return [each for each in wanted if not each.marker or each.marker.evaluate({"extra": extra})]


def settings_classes() -> list[type[BaseModel]]:
    from analytics_app.config import AnalyticsSettings
    from dashboard_app.config import DashboardSettings
    from users_app.config import UsersSettings

    return [UsersSettings, AnalyticsSettings, DashboardSettings]


def documented_settings() -> set[str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return {match[1] for line in lines if (match := re.match(r"#? ?([A-Z][A-Z0-9_]+)=", line))}


def test_no_pattern_has_a_possessive_group() -> None:
    """Until Python 3.11.5, which Debian 12 is before, such a group takes what it should not."""
    sources = [path for name in (*PACKAGES, "ops", "tests") for path in (ROOT / name).rglob("*.py")]
    assert len(sources) > 100
    lines = [line for path in sources for line in path.read_text().splitlines()]
    assert [
        line for line in lines if re.search(r"r[bf]?[\"'].*\)(?:[*+?]|\{[\d,]+\})\+", line)
    ] == []


def test_every_setting_is_in_the_example_and_every_example_is_a_setting() -> None:
    read_by_apps = {name.upper() for each in settings_classes() for name in each.model_fields}
    sources = [ROOT / name for name in ("gunicorn.conf.py", "ops/run.py", "chassis/client.py")]
    read_elsewhere = {"DASHBOARD_PORT", "USERS_PORT", "ANALYTICS_PORT"}
    for source in sources:
        read_elsewhere |= set(
            re.findall(r'(?:environ\.get|setting|number)\("([A-Z_]+)"', source.read_text())
        )
    alertmanager = (ROOT / "ops" / "alertmanager" / "start.sh").read_text()
    read_elsewhere |= set(re.findall(r"\$\{?(ALERT_[A-Z_]+)", alertmanager))
    caddy = (ROOT / "ops" / "caddy" / "start.sh").read_text()
    read_elsewhere |= set(re.findall(r"\$\{((?:ACME|DASHBOARD|USERS|ANALYTICS)_[A-Z_]+)", caddy))
    expected = (read_by_apps | read_elsewhere) - {"FOOTFALL_METRICS_OWNER"}
    assert documented_settings() == expected


SHIPPED = ("chassis", "users_app", "analytics_app", "dashboard_app", "templates", "static")
NAMESPACES = ("http://www.w3.org/",)


def test_nothing_shipped_names_an_outside_host() -> None:
    found = []
    for folder in SHIPPED:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".html", ".js", ".css", ".json"}:
                found += [f"{path}: {url}" for url in outside_hosts(path.read_text())]
    assert found == []


def outside_hosts(text: str) -> list[str]:
    urls = re.findall(r"https?://[\w.-]+\.[a-z]{2,}[^\s\"'`)]*", text)
    own = ("example", "127.0.0.1", "localhost")
    return [
        url for url in urls if not url.startswith(NAMESPACES) and not any(o in url for o in own)
    ]
