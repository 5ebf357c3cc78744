"""Each alert has a case in which it fires and one in which it doesn't, run by promtool."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.operations.programs import output, program
from tests.stack import ROOT

PROMETHEUS = ROOT / "ops" / "prometheus"
RULES = ("rules.yml", "kubernetes-rules.yml")
REQUESTS = 'flask_http_request_duration_seconds_count{job="users",url_rule="/users",status="%s"}'
QUICK = 'flask_http_request_duration_seconds_bucket{job="users",url_rule="/users",le="0.5"}'
DISK = '{instance="n",fstype="ext4",mountpoint="/"}'
HOURS = 60
DAYS = 24 * HOURS

Series = dict[str, str]


def mix(failing: int) -> Series:
    """Returns a day of 1,000 requests a minute, of which so many fail."""
    return {
        REQUESTS % 200: f"0+{1000 - failing}x{2 * DAYS}",
        REQUESTS % 500: f"0+{failing}x{2 * DAYS}",
    }


def speed(slow: int) -> Series:
    return {REQUESTS % 200: f"0+1000x{2 * DAYS}", QUICK: f"0+{1000 - slow}x{2 * DAYS}"}


def steady(name: str, value: float, minutes: int = 2 * DAYS, step: float = 0) -> Series:
    return {name: f"{value:g}{step:+g}x{minutes}"}


NODE_CPU = 'node_cpu_seconds_total{instance="n",cpu="0",mode="idle"}'
AGE = 'footfall_backup_last_success_timestamp_seconds{database="users"}'
DRILL = 'footfall_restore_drill_timestamp_seconds{database="users",instance="%s"}'
DRILLED = 'footfall_restore_drill_success{database="users",instance="%s"}'
CONNECTIONS = 'footfall_database_connections{database="users"}'
TEXTFILE = 'node_textfile_mtime_seconds{file="/textfile/footfall_database_users.prom"}'
VOLUME = 'kubelet_volume_stats_%s_bytes{persistentvolumeclaim="data-user-db-0"}'
MEMORY = 'node_memory_Mem%s_bytes{instance="n"}'
LOADED = 'alertmanager_config_last_reload_successful{job="alertmanager"}'
PROBE = 'probe_success{instance="https://a.example/health"}'
FOLLOWS = 'analytics_replica_follows{instance="a"}'
EXPIRY = 'probe_ssl_earliest_cert_expiry{instance="https://a.example/health"}'
EVENTS = 'analytics_events_total{job="analytics",result="%s"}'
MAILS = 'mail_attempts_total{job="users",outcome="%s"}'
LAG = 'analytics_delivery_lag_seconds_bucket{job="analytics",le="%s"}'


APPS = ("users", "analytics", "dashboard")
UP = {
    job: steady(f'up{{job="{job}",instance="b"}}', 1)
    for job in (*APPS, "node", "blackbox", "alertmanager")
}


def without(app: str) -> Series:
    """Returns the targets of the other apps, all of them up."""
    return {name: values for job in APPS if job != app for name, values in UP[job].items()}


def late(share: int) -> Series:
    """Returns 100 deliveries a minute, of which so many take between one and two minutes."""
    return {
        LAG % "1.0": f"0+{100 - share}x{2 * HOURS}",
        LAG % "60.0": f"0+{100 - share}x{2 * HOURS}",
        LAG % "120.0": f"0+100x{2 * HOURS}",
        LAG % "+Inf": f"0+100x{2 * HOURS}",
    }


# alert -> minutes from the start, series that make it fire, series that don't.
CASES: dict[str, tuple[int, Series, Series]] = {
    "AvailabilityBudgetBurnsFast": (70, mix(failing=20), mix(failing=2)),
    "AvailabilityBudgetBurnsSlowly": (DAYS + HOURS, mix(failing=4), mix(failing=0)),
    "LatencyBudgetBurnsFast": (70, speed(slow=200), speed(slow=20)),
    "LatencyBudgetBurnsSlowly": (DAYS + HOURS, speed(slow=40), speed(slow=5)),
    "AppDown": (5, steady('up{job="users",instance="a"}', 0), UP["users"]),
    "ServiceDown": (
        5,
        steady('up{job="users",instance="a"}', 0) | without("users"),
        steady('up{job="users",instance="a"}', 0) | UP["users"] | without("users"),
    ),
    "DatabaseUnreachable": (
        5,
        UP["users"] | steady('outbox_pending{job="users",instance="a"}', 0),
        UP["users"] | steady('outbox_pending{job="users",instance="b"}', 0),
    ),
    "DatabasePoolExhausted": (
        15,
        steady('database_pool_timeouts_total{job="users"}', 0, step=1),
        steady('database_pool_timeouts_total{job="users"}', 7),
    ),
    "OutboxStuck": (
        15,
        steady('outbox_oldest_age_seconds{job="users"}', 0, step=60),
        steady('outbox_oldest_age_seconds{job="users"}', 20),
    ),
    "DeliveryLags": (30, late(share=8), late(share=3)),
    "OutboxHasDeadMessages": (
        10,
        steady('outbox_dead{job="users"}', 1),
        steady('outbox_dead{job="users"}', 0),
    ),
    "MailsStuck": (
        25,
        steady('mails_oldest_age_seconds{job="users"}', 0, step=60),
        steady('mails_oldest_age_seconds{job="users"}', 600),
    ),
    "MailServerRefusesLogin": (
        15,
        steady(MAILS % "login", 0, step=1),
        steady(MAILS % "login", 7) | steady(MAILS % "deferred", 0, step=1),
    ),
    "MailServerUnreachable": (
        20,
        steady(MAILS % "unreachable", 0, step=1),
        steady(MAILS % "unreachable", 7) | steady(MAILS % "sent", 0, step=1),
    ),
    "MailServerDoesNotAnswer": (
        30,
        {MAILS % "unanswered": f"0x10 1x{DAYS}"},
        steady(MAILS % "unanswered", 3) | steady(MAILS % "sent", 0, step=1),
    ),
    "MailsGivenUp": (
        10,
        steady('mails_dead{job="users"}', 1),
        steady('mails_dead{job="users"}', 0),
    ),
    "EventsRejected": (
        40,
        steady(EVENTS % "accepted", 0, step=90) | steady(EVENTS % "rejected", 0, step=10),
        steady(EVENTS % "accepted", 0, step=99) | steady(EVENTS % "rejected", 0, step=1),
    ),
    "PartitionsRunOut": (
        2 * HOURS,
        steady("analytics_partitions_ahead_seconds", 6 * 86400),
        steady("analytics_partitions_ahead_seconds", 60 * 86400),
    ),
    "DailyCountsNotReady": (
        3 * HOURS,
        steady("analytics_daily_counts_ready", 0),
        steady("analytics_daily_counts_ready", 1),
    ),
    "CountsNotFolded": (
        DAYS + 2 * HOURS,
        steady("analytics_unfolded_slots", 300_000),
        {"analytics_unfolded_slots": f"300000x{20 * HOURS} 10x{20 * HOURS}"},
    ),
    "ErasureStuck": (
        2 * HOURS,
        steady('analytics_oldest_erasure_seconds{job="analytics"}', 0, step=60),
        steady('analytics_oldest_erasure_seconds{job="analytics"}', 600),
    ),
    "DatabaseConnectionsHigh": (
        20,
        steady('footfall_database_connections{database="users"}', 180)
        | steady('footfall_database_connections_max{database="users"}', 200),
        steady('footfall_database_connections{database="users"}', 40)
        | steady('footfall_database_connections_max{database="users"}', 200),
    ),
    "ReplicaDoesNotFollow": (10, steady(FOLLOWS, 0), steady(FOLLOWS, 1)),
    "ReplicaLags": (
        20,
        steady('footfall_replica_lag_seconds{database="analytics"}', 120),
        steady('footfall_replica_lag_seconds{database="analytics"}', 1),
    ),
    "BackupTooOld": (38 * HOURS, steady(AGE, 0), steady(AGE, 30 * 3600)),
    "NoBackup": (13 * HOURS, steady(CONNECTIONS, 9), steady(CONNECTIONS, 9) | {AGE: "0x60"}),
    "BackupDown": (2 * HOURS, {CONNECTIONS: "9x60"}, steady(CONNECTIONS, 9)),
    "WalReceiverBehind": (
        20,
        steady('footfall_wal_unreceived_bytes{database="users"}', 2e9),
        steady('footfall_wal_unreceived_bytes{database="users"}', 2e7),
    ),
    "RestoreDrillFailed": (
        10,
        steady(DRILLED % "a", 0) | steady(DRILL % "a", 100),
        steady(DRILLED % "a", 1) | steady(DRILL % "a", 100),
    ),
    "RestoreDrillTooOld": (
        10 * DAYS,
        steady(DRILL % "a", 0, 11 * DAYS),
        steady(DRILL % "a", 5 * 86400, 11 * DAYS),
    ),
    "DiskAlmostFull": (
        20,
        steady(f"node_filesystem_avail_bytes{DISK}", 5)
        | steady(f"node_filesystem_size_bytes{DISK}", 100),
        steady(f"node_filesystem_avail_bytes{DISK}", 50)
        | steady(f"node_filesystem_size_bytes{DISK}", 100),
    ),
    "DiskFillsUp": (
        10 * HOURS,
        steady(f"node_filesystem_avail_bytes{DISK}", 40_000, step=-25)
        | steady(f"node_filesystem_size_bytes{DISK}", 100_000),
        steady(f"node_filesystem_avail_bytes{DISK}", 40_000, step=-1)
        | steady(f"node_filesystem_size_bytes{DISK}", 100_000),
    ),
    "MemoryShort": (
        20,
        steady(MEMORY % "Available", 5) | steady(MEMORY % "Total", 100),
        steady(MEMORY % "Available", 50) | steady(MEMORY % "Total", 100),
    ),
    "CpuSaturated": (HOURS, steady(NODE_CPU, 0, step=3), steady(NODE_CPU, 0, step=30)),
    "ProbeFailed": (10, steady(PROBE, 0), steady(PROBE, 1)),
    "CertificateExpires": (
        2 * HOURS,
        steady(EXPIRY, 13 * 86400),
        steady(EXPIRY, 60 * 86400),
    ),
    "CertificateExpiresNow": (10, steady(EXPIRY, 86400), steady(EXPIRY, 13 * 86400)),
    "TargetDown": (
        15,
        steady('up{job="backup"}', 0) | UP["node"] | UP["blackbox"] | UP["alertmanager"],
        steady('up{job="users"}', 0) | UP["node"] | UP["blackbox"] | UP["alertmanager"],
    ),
    "AlertsNotTold": (
        30,
        steady('alertmanager_notifications_failed_total{integration="email"}', 0, step=1),
        steady('alertmanager_notifications_failed_total{integration="email"}', 7),
    ),
    "AlertsNotSent": (
        10,
        steady("prometheus_notifications_alertmanagers_discovered", 0),
        steady("prometheus_notifications_alertmanagers_discovered", 1),
    ),
    "ConfigurationNotLoaded": (
        10,
        steady(LOADED, 0),
        steady(LOADED, 1),
    ),
    "RulesFail": (
        20,
        steady("prometheus_rule_evaluation_failures_total", 0, step=1),
        steady("prometheus_rule_evaluation_failures_total", 7),
    ),
    "VolumeAlmostFull": (
        20,
        steady(VOLUME % "available", 5) | steady(VOLUME % "capacity", 100),
        steady(VOLUME % "available", 50) | steady(VOLUME % "capacity", 100),
    ),
    "VolumeFillsUp": (
        10 * HOURS,
        steady(VOLUME % "available", 40_000, step=-25) | steady(VOLUME % "capacity", 100_000),
        steady(VOLUME % "available", 40_000, step=-1) | steady(VOLUME % "capacity", 100_000),
    ),
    "VolumesNotWatched": (40, {}, steady(VOLUME % "capacity", 100)),
}

# The same for what is silent elsewhere: figures that are gone with who published them.
GONE: list[tuple[str, int, Series, Series]] = [
    *(("ServiceDown", 5, without(app), UP["users"] | without("users")) for app in APPS),
    ("DatabaseUnreachable", 5, UP["analytics"], UP["dashboard"]),
    ("BackupTooOld", 38 * HOURS, {AGE: "0x60"}, {AGE: f"{30 * 3600}x60"}),
    ("RestoreDrillTooOld", 10 * DAYS, {DRILL % "a": "0x60"}, {DRILL % "a": f"{5 * 86400}x60"}),
    (
        "RestoreDrillFailed",
        2 * HOURS,
        {DRILLED % "a": "0x60", DRILL % "a": "100x60"},
        {DRILLED % "a": "0x60", DRILL % "a": "100x60"}
        | {DRILLED % "b": "_x60 1x120", DRILL % "b": "_x60 200x120"},
    ),
    ("BackupDown", 7 * HOURS, steady(TEXTFILE, 0), steady(TEXTFILE, 0, step=60)),
    (
        "TargetDown",
        15,
        UP["blackbox"] | UP["alertmanager"],
        UP["node"] | UP["blackbox"] | UP["alertmanager"],
    ),
    (
        "AlertsNotSent",
        20,
        steady("prometheus_notifications_dropped_total", 0, step=1),
        steady("prometheus_notifications_dropped_total", 7),
    ),
]


@cache
def groups() -> list[dict[str, Any]]:
    files = [yaml.safe_load((PROMETHEUS / name).read_text()) for name in RULES]
    return [group for file in files for group in file["groups"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for group in groups() for rule in group["rules"] if "alert" in rule]


def labels_of(alert: str) -> list[str]:
    """Returns the labels that the alert's summary names."""
    [rule] = [each for each in alerts() if each["alert"] == alert]
    return re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])


def case(alert: str, minutes: int, series: Series, firing: int) -> dict[str, Any]:
    """Returns a promtool test: whether the alert fires then, with all that its summary names."""
    labels = [f'alertname="{alert}"', 'alertstate="firing"']
    labels += [f'{each}!=""' for each in labels_of(alert) if firing]
    asked = f"(count(ALERTS{{{','.join(labels)}}}) > bool 0) or vector(0)"
    return {
        "name": f"{alert} {'fires' if firing else 'stays quiet'}",
        "interval": "1m",
        "input_series": [{"series": name, "values": text} for name, text in series.items()],
        "promql_expr_test": [
            {"expr": asked, "eval_time": f"{minutes}m", "exp_samples": [{"value": firing}]}
        ],
    }


def test_every_alert_has_a_case_that_fires_and_one_that_does_not(tmp_path: Path) -> None:
    assert set(CASES) == {rule["alert"] for rule in alerts()}
    plans = [path for group in groups() for path in plans_for(group, tmp_path)]
    output(program("promtool"), "test", "rules", *plans)


def plans_for(group: dict[str, Any], folder: Path) -> Iterator[Path]:
    """Writes the tests of one group's alerts, with that group alone to evaluate."""
    file = folder / f"{group['name']}.yml"
    file.write_text(yaml.safe_dump({"groups": [group]}))
    ours = {rule.get("alert") for rule in group["rules"]}
    each_case = [*((alert, *each) for alert, each in CASES.items()), *GONE]
    # Days at one evaluation a minute would take minutes to run.
    for pause, shortest, longest in (("1m", 0, 3 * HOURS), ("30m", 3 * HOURS + 1, 20 * DAYS)):
        tests = [
            case(alert, minutes, series, firing)
            for alert, minutes, loud, quiet in each_case
            if alert in ours and shortest <= minutes <= longest
            for series, firing in ((loud, 1), (quiet, 0))
        ]
        plan = {"rule_files": [str(file)], "evaluation_interval": pause, "tests": tests}
        path = folder / f"{group['name']}-every-{pause}.yml"
        path.write_text(yaml.safe_dump(plan))
        yield path


def test_promtool_accepts_the_configuration_and_the_rules() -> None:
    output(program("promtool"), "check", "config", PROMETHEUS / "prometheus.yml")


def test_promtool_accepts_the_configuration_for_kubernetes(tmp_path: Path) -> None:
    """But for the discovery of nodes, which Debian's build leaves out, and a pod's own token."""
    document = yaml.safe_load((PROMETHEUS / "kubernetes.yml").read_text())
    [kubelet] = [each for each in document["scrape_configs"] if each["job_name"] == "kubelet"]
    assert kubelet.pop("kubernetes_sd_configs") == [{"role": "node"}]
    (tmp_path / "token").touch()
    kubelet["authorization"]["credentials_file"] = str(tmp_path / "token")
    for name in RULES:
        (tmp_path / name).write_text((PROMETHEUS / name).read_text())
    path = tmp_path / "kubernetes.yml"
    path.write_text(yaml.safe_dump(document))
    output(program("promtool"), "check", "config", path)


def test_both_configurations_name_the_jobs_alike() -> None:
    def jobs(name: str) -> set[str]:
        found = yaml.safe_load((PROMETHEUS / name).read_text())["scrape_configs"]
        return {each["job_name"] for each in found}

    assert jobs("kubernetes.yml") == jobs("prometheus.yml") | {"backup", "kubelet"}


def test_every_alert_has_a_severity_and_a_runbook_that_is_written() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbooks.md").read_text(), re.MULTILINE)
    anchors = {f"docs/runbooks.md#{each.lower()}" for each in headings}
    for rule in alerts():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["runbook"].endswith("#" + rule["alert"].lower())
        assert rule["annotations"]["runbook"] in anchors
    assert len(anchors) == len(alerts()), "a runbook of an alert that is gone"
