"""A real Prometheus scrapes the running stack: every expression that we ship returns data."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.operations.backups import Kept
from tests.operations.gateway import Gateway, self_signed
from tests.operations.programs import alertmanager, output, program, running
from tests.servers import free_port, wait_until
from tests.stack import ROOT, Stack

APPS = ("users", "analytics", "dashboard")
DASHBOARDS = sorted((ROOT / "ops" / "grafana" / "dashboards").glob("*.json"))
RULES = ROOT / "ops" / "prometheus" / "rules.yml"
# Words of PromQL itself; what else stands in an expression is a metric or a label.
WORDS = {
    "sum", "by", "max", "min", "avg", "rate", "or", "and", "on", "time", "bool", "unless",
    "histogram_quantile", "predict_linear", "min_over_time", "last_over_time", "absent",
    "count", "label_replace",
}  # fmt: skip


def panels() -> list[tuple[str, str]]:
    """Returns each panel's title and expression, the choice of app filled in."""
    found = []
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                expr = target["expr"].replace("$job", "users")
                found.append((f"{path.stem}: {panel['title']}", expr))
    return found


def rules() -> list[tuple[str, str]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    each = [rule for group in groups for rule in group["rules"]]
    return [(rule.get("record") or rule["alert"], rule["expr"]) for rule in each]


def metrics_of(expr: str) -> set[str]:
    """Returns the names of the metrics in an expression."""
    bare = re.sub(r'"[^"]*"|\b\d[\w.]*|\{[^}]*\}|\[[^\]]*\]|(?:by|on)\s*\([^)]*\)', " ", expr)
    return set(re.findall(r"[a-z_][a-zA-Z0-9_:]*", bare)) - WORDS


class Watched:
    """The stack with Prometheus, node-exporter and backups beside it."""

    def __init__(self, stack: Stack, kept: Kept) -> None:
        self.stack, self.kept = stack, kept
        self.port, self.node, self.alertmanager = free_port(), free_port(), free_port()
        self.blackbox = free_port()
        self.public_url, self.inside = "", [""]
        self.no_alertmanager = ""  # the reason, where it can't be run
        self.headers: dict[str, str] = {}

    def query(self, expr: str) -> list[dict[str, Any]]:
        answer = requests.get(
            f"http://127.0.0.1:{self.port}/api/v1/query", params={"query": expr}, timeout=10
        )
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def configuration(self, folder: Path) -> Path:
        """Writes our own configuration with the targets and the pace of this test."""
        document = yaml.safe_load((ROOT / "ops" / "prometheus" / "prometheus.yml").read_text())
        targets = {app: self.stack.ports[app] for app in APPS}
        targets |= {"node": self.node, "prometheus": self.port, "alertmanager": self.alertmanager}
        targets |= {"blackbox": self.blackbox}
        document["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        document["rule_files"] = [str(RULES)]
        [[manager]] = [each["static_configs"] for each in document["alerting"]["alertmanagers"]]
        manager["targets"] = [f"127.0.0.1:{self.alertmanager}"]
        for job in document["scrape_configs"]:
            if job["job_name"] == "probe":
                self.redirect(job, folder / "probes.yml")
            else:
                job["static_configs"] = [{"targets": [f"127.0.0.1:{targets[job['job_name']]}"]}]
        path = folder / "prometheus.yml"
        path.write_text(yaml.safe_dump(document))
        return path

    def redirect(self, job: dict[str, Any], probes: Path) -> None:
        """Has the gateway and the apps of this test asked, and its public address on loopback."""
        [ours] = job["static_configs"]
        assert len(ours["targets"]) == len(self.inside)
        job["static_configs"] = [{"targets": self.inside}]
        probes.write_text(f"- targets: ['{self.public_url}/health']\n")
        job["file_sd_configs"] = [{"files": [str(probes)]}]
        job["relabel_configs"][-1]["replacement"] = f"127.0.0.1:{self.blackbox}"

    def make_traffic(self) -> None:
        """Calls what the dashboards show, as people and programs would."""
        body = {"events": [{"event_type": "page_view"}, {"event_type": "not a type"}]}
        for path, what in (("events/batch", body), ("events", {"event_type": "search"})):
            requests.post(
                f"{self.stack.analytics_url}/analytics/{path}",
                json=what, headers=self.headers, timeout=10,
            )  # fmt: skip
        requests.get(f"{self.stack.users_url}/users/me", headers=self.headers, timeout=10)
        requests.get(f"{self.stack.dashboard_url}/login", timeout=10)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    prometheus, exporter = program("prometheus"), program("prometheus-node-exporter")
    blackbox = program("prometheus-blackbox-exporter")
    folder = tmp_path_factory.mktemp("watched")
    with ExitStack() as until_the_end:
        kept = until_the_end.enter_context(Kept())
        for name in ("trial", "analytics"):
            kept.server.execute(f"CREATE DATABASE {name}")
        started = Stack(
            users_database_url=kept.server.url("trial"),
            analytics_database_url=kept.server.url("analytics"),
            settings={"ANALYTICS_REPLICA_URL": kept.server.url("analytics")},
            workers=2,
        )
        stack = until_the_end.enter_context(started)
        found = Watched(stack, kept)
        gateway = Gateway(stack.ports["dashboard"], folder, tls=self_signed(folder))
        until_the_end.enter_context(gateway)
        try:
            manager = alertmanager(folder)
        except pytest.skip.Exception as reason:  # all else can be watched
            manager, found.no_alertmanager = Path("true"), str(reason)
        found.public_url = f"https://127.0.0.1:{gateway.port}"
        found.inside = [
            f"http://127.0.0.1:{gateway.alive_port}/alive",
            *(f"http://127.0.0.1:{stack.ports[app]}/health" for app in APPS),
        ]
        commands: list[tuple[list[Any], str, dict[str, Any]]] = [
            (["bash", kept.home / "ops" / "run.sh"], "backup.log", kept.as_unprivileged()),
            ([exporter, f"--web.listen-address=127.0.0.1:{found.node}",
              f"--path.sysfs={sysfs(folder)}",
              f"--collector.textfile.directory={kept.metrics}"], "node.log", {}),
            ([blackbox, f"--config.file={ROOT}/ops/blackbox/blackbox.yml",
              f"--web.listen-address=127.0.0.1:{found.blackbox}"], "blackbox.log", {}),
            ([manager, f"--config.file={ROOT}/ops/alertmanager/alertmanager.yml",
              f"--storage.path={folder}/told", "--cluster.listen-address=",
              f"--web.listen-address=127.0.0.1:{found.alertmanager}"], "alertmanager.log", {}),
            ([prometheus, f"--config.file={found.configuration(folder)}",
              f"--storage.tsdb.path={folder}/data",
              f"--web.listen-address=127.0.0.1:{found.port}"], "prometheus.log", {}),
        ]  # fmt: skip
        for command, log, given in commands:
            until_the_end.enter_context(running(command, folder / log, **given))
        found.headers = stack.first_account()
        wait_until("the first drill", lambda: bool(list(kept.metrics.glob("*drill*"))), 60)
        wait_until("Prometheus's start", lambda: is_up(found), 60)
        yield found


def sysfs(folder: Path) -> Path:
    """Returns /sys, or what stands in for one that is empty: node-exporter 1.9 ends there."""
    if Path("/sys/devices/system/cpu").is_dir():
        return Path("/sys")
    (folder / "sys/devices/system/cpu/cpu0").mkdir(parents=True)
    return folder / "sys"


def is_up(watched: Watched) -> bool:
    try:
        ready = requests.get(f"http://127.0.0.1:{watched.port}/-/ready", timeout=10)
    except requests.RequestException:
        return False
    return ready.ok and len(watched.query("up == 1")) == (11 if watched.no_alertmanager else 12)


def test_every_panel_returns_data(watched: Watched) -> None:
    def without_data() -> list[tuple[str, str]]:
        watched.make_traffic()
        return [(title, expr) for title, expr in panels() if not watched.query(expr)]

    try:
        wait_until("data for every panel", lambda: not without_data(), 60, pause=1)
    except TimeoutError:
        assert without_data() == []
    assert len(panels()) > 30


def test_every_metric_in_a_rule_is_there(watched: Watched) -> None:
    wanted = {metric for _, expr in rules() for metric in metrics_of(expr)}
    if watched.no_alertmanager:
        wanted = {each for each in wanted if not each.startswith("alertmanager_")}

    def missing() -> set[str]:
        return {each for each in wanted if not watched.query(f"last_over_time({each}[5m])")}

    with suppress(TimeoutError):  # what was just made is not read yet
        wait_until("every metric", lambda: not missing(), 30, pause=1)
    assert missing() == set()
    if watched.no_alertmanager:
        pytest.skip(f"all but Alertmanager's own are there: {watched.no_alertmanager}")


def test_the_gateway_the_apps_and_the_public_address_are_asked(watched: Watched) -> None:
    probes = watched.query("probe_success")
    answers = {each["metric"]["instance"]: each["value"][1] for each in probes}
    assert answers == dict.fromkeys([f"{watched.public_url}/health", *watched.inside], "1")
    [left] = watched.query("probe_ssl_earliest_cert_expiry - time()")
    assert 0 < float(left["value"][1]) <= 86400


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, []),
        ({"PUBLIC_URL": "http://127.0.0.1:8000", "ANALYTICS_PUBLIC_URL": "http://[::1]:8002"}, []),
        ({"PUBLIC_URL": "https://localhost"}, []),
        ({"PUBLIC_URL": "https://a.example/"}, ["https://a.example/health"]),
        (
            {"PUBLIC_URL": "https://a.example:8000", "ANALYTICS_PUBLIC_URL": "http://b.example"},
            ["https://a.example:8000/health", "http://b.example/health"],
        ),
    ],
)
def test_prometheus_is_started_with_the_addresses_that_lead_elsewhere(
    tmp_path: Path, settings: dict[str, str], asked: list[str]
) -> None:
    stand_in = tmp_path / "prometheus"
    stand_in.write_text('#!/bin/sh\necho "$@"\n')
    stand_in.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RUN_DIR": str(tmp_path / "run")}
    words = ["sh", str(RULES.parent / "start.sh"), "--config.file=x", "--flag"]
    done = subprocess.run(
        words, env=environment | settings, check=True, capture_output=True, text=True
    )
    assert done.stdout == "--config.file=x --flag\n"
    written = yaml.safe_load((tmp_path / "run" / "probes.yml").read_text()) or []
    assert [each["targets"] for each in written] == [[url] for url in asked]


def test_the_rules_about_volumes_use_what_is_kept_of_the_kubelets() -> None:
    groups = yaml.safe_load((RULES.parent / "kubernetes-rules.yml").read_text())["groups"]
    jobs = yaml.safe_load((RULES.parent / "kubernetes.yml").read_text())["scrape_configs"]
    [kubelet] = [each for each in jobs if each["job_name"] == "kubelet"]
    [keep] = kubelet["metric_relabel_configs"]
    used = {
        name for group in groups for rule in group["rules"] for name in metrics_of(rule["expr"])
    }
    assert used == {f"kubelet_volume_stats_{each}_bytes" for each in ("available", "capacity")}
    for name in used:
        assert re.fullmatch(keep["regex"], f"{name};microservices-analytics")
        assert not re.fullmatch(keep["regex"], f"{name};default")


def test_every_recording_rule_is_evaluated_without_an_error(watched: Watched) -> None:
    answer = requests.get(f"http://127.0.0.1:{watched.port}/api/v1/rules", timeout=10).json()
    found = [rule for group in answer["data"]["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in found} == {name for name, _ in rules()}
    assert [rule for rule in found if rule["health"] != "ok"] == []


def test_requests_are_labelled_by_route_template_and_never_by_path(watched: Watched) -> None:
    requests.get(f"{watched.stack.users_url}/users/123456", timeout=10)
    requests.get(f"{watched.stack.users_url}/no/such/path", timeout=10)
    text = requests.get(f"{watched.stack.users_url}/metrics", timeout=10).text
    rules = set(re.findall(r'url_rule="([^"]*)"', text))
    assert {"/users/<id:user_id>", "unmatched"} <= rules
    assert not [each for each in rules if "123456" in each or "such" in each]


def test_the_dashboards_are_what_the_builder_writes(tmp_path: Path) -> None:
    before = {path: path.read_text() for path in DASHBOARDS}
    output("cp", ROOT / "ops" / "grafana" / "build.py", tmp_path / "build.py")
    (tmp_path / "dashboards").mkdir()
    output("python3", tmp_path / "build.py")
    written = {path.name: path.read_text() for path in (tmp_path / "dashboards").iterdir()}
    assert written == {path.name: text for path, text in before.items()}


def test_the_dashboards_are_all_mounted_and_provisioned() -> None:
    listed = yaml.safe_load((ROOT / "ops" / "grafana" / "kustomization.yaml").read_text())
    generated = {each["name"]: each["files"] for each in listed["configMapGenerator"]}
    names = [f"dashboards/{path.name}" for path in DASHBOARDS]
    assert sorted(generated["grafana-dashboards"]) == names
    uids = {json.loads(path.read_text())["uid"] for path in DASHBOARDS}
    assert len(uids) == len(DASHBOARDS) == 4
