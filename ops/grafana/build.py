"""Writes the dashboards' JSON from the few lines that differ between panels.

    python ops/grafana/build.py

Grafana reads the files in dashboards/; change them here and run this again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
REQUESTS = "flask_http_request_duration_seconds"
APPS = 'job=~"users|analytics|dashboard"'
JOB = 'job="$job"'
DISK = 'fstype!~"tmpfs|ramfs|squashfs|iso9660",mountpoint!~"/(run|snap|boot).*"'


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: its expressions by legend, its unit, and from where on a value is bad."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    bad: float | None = None
    good: float | None = None
    about: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard: a file's name, a title, rows of panels, and perhaps a choice of app."""

    name: str
    title: str
    rows: dict[str, list[Panel]]
    choice: list[str] = field(default_factory=list)


OVERVIEW = Dashboard(
    "overview",
    "Overview and objectives",
    {
        "Objectives": [
            Panel(
                "Availability, 30 days' objective 99.9%",
                {"{{job}}": "1 - job:errors:ratio_rate1h"},
                "percentunit",
                "stat",
                bad=0,
                good=0.999,
                about="Share of requests without a 5xx, last hour.",
            ),
            Panel(
                "Within 0.5 s, objective 99%",
                {"{{job}}": "1 - job:slow:ratio_rate1h"},
                "percentunit",
                "stat",
                bad=0,
                good=0.99,
                about="Without exports and behaviour reports, last hour.",
            ),
            Panel(
                "Apps that answer",
                {"{{job}}": f"sum by (job) (up{{{APPS}}})"},
                "short",
                "stat",
                bad=0,
                good=1,
            ),
            Panel(
                "Error budget burned (1 = exactly the objective)",
                {
                    "{{job}}, 1 h": "job:errors:ratio_rate1h / 0.001",
                    "{{job}}, 6 h": "job:errors:ratio_rate6h / 0.001",
                },
                width=12,
                bad=14.4,
            ),
            Panel(
                "Latency budget burned (1 = exactly the objective)",
                {
                    "{{job}}, 1 h": "job:slow:ratio_rate1h / 0.01",
                    "{{job}}, 6 h": "job:slow:ratio_rate6h / 0.01",
                },
                width=12,
                bad=14.4,
            ),
        ],
        "Traffic": [
            Panel("Requests", {"{{job}}": "sum by (job) (job_route:requests:rate5m)"}, "reqps"),
            Panel("Errors", {"{{job}}": "job:errors:ratio_rate5m"}, "percentunit", bad=0.001),
            Panel("95th percentile", {"{{job}}": "job:duration_seconds:p95_5m"}, "s", bad=0.5),
        ],
        "Machine": [
            Panel(
                "CPU",
                {
                    "{{instance}}": "1 - avg by (instance) "
                    '(rate(node_cpu_seconds_total{mode="idle"}[5m]))'
                },
                "percentunit",
                bad=0.9,
            ),
            Panel(
                "Memory available",
                {"{{instance}}": "node_memory_MemAvailable_bytes"},
                "bytes",
            ),
            Panel(
                "Disk left",
                {
                    "{{mountpoint}}": f"node_filesystem_avail_bytes{{{DISK}}} "
                    "/ node_filesystem_size_bytes"
                },
                "percentunit",
            ),
        ],
    },
)

SERVICE = Dashboard(
    "service",
    "One service",
    {
        "Traffic": [
            Panel(
                "Requests by route",
                {"{{url_rule}}": f"sum by (url_rule) (job_route:requests:rate5m{{{JOB}}})"},
                "reqps",
            ),
            Panel(
                "Answers by status",
                {"{{status}}": f"sum by (status) (rate({REQUESTS}_count{{{JOB}}}[5m]))"},
                "reqps",
            ),
            Panel(
                "Errors by route",
                {
                    "{{url_rule}}": f"sum by (url_rule) "
                    f'(rate({REQUESTS}_count{{{JOB},status=~"5.."}}[5m])) '
                    f"or 0 * sum by (url_rule) (rate({REQUESTS}_count{{{JOB}}}[5m]))"
                },
                "reqps",
            ),
            Panel(
                "95th percentile by route",
                {
                    "{{url_rule}}": "histogram_quantile(0.95, sum by (url_rule, le) "
                    f"(rate({REQUESTS}_bucket{{{JOB}}}[5m])))"
                },
                "s",
                width=12,
                bad=0.5,
            ),
            Panel(
                "Median and 99th percentile",
                {
                    "median": "histogram_quantile(0.5, sum by (le) "
                    f"(rate({REQUESTS}_bucket{{{JOB}}}[5m])))",
                    "99th": "histogram_quantile(0.99, sum by (le) "
                    f"(rate({REQUESTS}_bucket{{{JOB}}}[5m])))",
                },
                "s",
                width=12,
            ),
        ],
        "Database connections": [
            Panel(
                "In use",
                {
                    "{{pool}}": f"sum by (pool) (database_pool_connections_in_use{{{JOB}}})",
                    "{{pool}}, most": f"sum by (pool) (database_pool_size{{{JOB}}})",
                },
                width=12,
            ),
            Panel(
                "Waits that ended in vain",
                {"{{job}}": f"sum by (job) (rate(database_pool_timeouts_total{{{JOB}}}[5m]))"},
                "ops",
                width=12,
            ),
        ],
    },
    choice=["users", "analytics", "dashboard"],
)

PIPELINE = Dashboard(
    "pipeline",
    "Pipeline",
    {
        "From the users service to analytics": [
            Panel(
                "End-to-end lag, 95th percentile",
                {"lag": "max(job:delivery_lag_seconds:p95_5m)"},
                "s",
                width=12,
                bad=60,
                about="From what happened in the users service until analytics had stored it.",
            ),
            Panel(
                "Age of the oldest that waits",
                {"age": "max(outbox_oldest_age_seconds)"},
                "s",
                width=12,
                bad=300,
                about="Grows while nothing is delivered, when there is no lag to be measured.",
            ),
            Panel("Waiting", {"messages": "max(outbox_pending)"}, width=12),
            Panel("Refused", {"messages": "max(outbox_dead)"}, kind="stat", width=12, bad=1),
        ],
        "Mails": [
            Panel(
                "Age of the oldest mail",
                {"age": "max(mails_oldest_age_seconds)"},
                "s",
                bad=900,
            ),
            Panel(
                "Attempts by how they ended",
                {"{{outcome}}": "max by (outcome) (rate(mail_attempts_total[15m]))"},
                about="Over 15 minutes. Unanswered: handed over, and never heard of again.",
            ),
            Panel("Mails given up", {"mails": "max(mails_dead)"}, kind="stat", bad=1),
        ],
        "Ingest": [
            Panel(
                "Events by result",
                {"{{result}}": "sum by (result) (rate(analytics_events_total[5m]))"},
                "ops",
                width=12,
            ),
            Panel(
                "95th percentile of ingest",
                {
                    "{{url_rule}}": "histogram_quantile(0.95, sum by (url_rule, le) (rate("
                    f'{REQUESTS}_bucket{{job="analytics",'
                    'url_rule=~"/analytics/events|/analytics/events/batch"}[5m])))'
                },
                "s",
                width=12,
            ),
        ],
        "Tables": [
            Panel(
                "Partitions reach ahead",
                {"ahead": "min(analytics_partitions_ahead_seconds)"},
                "s",
                bad=0,
                good=7 * 86400,
                kind="stat",
            ),
            Panel(
                "Daily counts ready",
                {"ready": "min(analytics_daily_counts_ready)"},
                kind="stat",
                bad=0,
                good=1,
            ),
            Panel("Rows of counts to fold", {"rows": "max(analytics_unfolded_slots)"}),
        ],
    },
)

DATABASES = Dashboard(
    "databases",
    "Databases and backups",
    {
        "Backups": [
            Panel(
                "Age of the newest backup",
                {"{{database}}": "time() - footfall_backup_last_success_timestamp_seconds"},
                "s",
                "stat",
                width=6,
                bad=36 * 3600,
            ),
            Panel(
                "WAL not yet received",
                {"{{database}}": "footfall_wal_unreceived_bytes"},
                "bytes",
                width=6,
                bad=1e9,
            ),
            Panel(
                "Last restore drill went well",
                {"{{database}}": "footfall_restore_drill_success"},
                kind="stat",
                width=6,
                bad=0,
                good=1,
            ),
            Panel(
                "Age of the last drill",
                {"{{database}}": "time() - footfall_restore_drill_timestamp_seconds"},
                "s",
                "stat",
                width=6,
                bad=9 * 86400,
            ),
            Panel("Size of a backup", {"{{database}}": "footfall_backup_bytes"}, "bytes"),
            Panel(
                "A backup takes",
                {"{{database}}": "footfall_backup_duration_seconds"},
                "s",
            ),
            Panel(
                "A restore takes",
                {"{{database}}": "footfall_restore_drill_duration_seconds"},
                "s",
            ),
        ],
        "Servers": [
            Panel("Size", {"{{database}}": "footfall_database_bytes"}, "bytes"),
            Panel(
                "Connections",
                {
                    "{{database}}": "footfall_database_connections",
                    "{{database}}, most": "footfall_database_connections_max",
                },
            ),
            Panel(
                "Replica's lag",
                {"{{database}}": "footfall_replica_lag_seconds"},
                "s",
                bad=60,
            ),
        ],
    },
)

DASHBOARDS = (OVERVIEW, SERVICE, PIPELINE, DATABASES)


def document(dashboard: Dashboard) -> dict[str, Any]:
    """Returns a dashboard as Grafana reads it."""
    return {
        "uid": f"footfall-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["footfall"],
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "schemaVersion": 39,
        "editable": False,
        "links": [{"type": "dashboards", "tags": ["footfall"], "title": "Footfall"}],
        "templating": {"list": [choice(dashboard.choice)] if dashboard.choice else []},
        "panels": placed(dashboard.rows),
    }


def choice(jobs: list[str]) -> dict[str, Any]:
    options = [{"text": each, "value": each, "selected": each == jobs[0]} for each in jobs]
    return {
        "name": "job",
        "label": "App",
        "type": "custom",
        "query": ",".join(jobs),
        "options": options,
        "current": options[0],
    }


def placed(rows: dict[str, list[Panel]]) -> list[dict[str, Any]]:
    """Returns all panels with their places on Grafana's grid, 24 columns wide."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, members in rows.items():
        panels.append(row(len(panels) + 1, title, top))
        top, left = top + 1, 0
        for each in members:
            if left + each.width > 24:
                top, left = top + 8, 0
            panels.append(drawn(len(panels) + 1, each, left, top))
            left += each.width
        top += 8
    return panels


def row(number: int, title: str, top: int) -> dict[str, Any]:
    place = {"x": 0, "y": top, "w": 24, "h": 1}
    return {"id": number, "type": "row", "title": title, "gridPos": place, "collapsed": False}


def drawn(number: int, panel: Panel, left: int, top: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": {"x": left, "y": top, "w": panel.width, "h": 8},
        "targets": [
            {"refId": chr(65 + n), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
            for n, (legend, expr) in enumerate(panel.queries.items())
        ],
        "fieldConfig": {"defaults": look(panel), "overrides": []},
    }


def look(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.good is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": panel.good}]
    elif panel.bad is not None:
        steps.append({"color": "red", "value": panel.bad})
    found: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.kind == "timeseries":
        found["min"] = 0
        found["custom"] = {"thresholdsStyle": {"mode": "line" if len(steps) > 1 else "off"}}
    return found


def main() -> None:
    for each in DASHBOARDS:
        text = json.dumps(document(each), indent=1) + "\n"
        (FOLDER / f"{each.name}.json").write_text(text)


if __name__ == "__main__":
    main()
