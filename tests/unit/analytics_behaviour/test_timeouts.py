"""A report that takes too long ends in an answer that says what to do, on each engine."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from analytics_app.behaviour import seals
from tests.unit.analytics.conftest import Api, MakeApp, user_token

STEPS = {"steps": [{"event_type": "a"}, {"event_type": "b"}], "window": "1d"}
REPORTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "funnel": ("POST", "/analytics/funnel", {"json": STEPS}),
    "retention": ("GET", "/analytics/retention", {"query_string": {"event_type": "a"}}),
    "paths": ("GET", "/analytics/paths", {"query_string": {"event_type": "a"}}),
    "breakdown": (
        "GET",
        "/analytics/breakdown",
        {"query_string": {"event_type": "a", "key": "plan"}},
    ),
    "properties": ("GET", "/analytics/properties", {"query_string": {"event_type": "a"}}),
}


def asker(make_app: MakeApp) -> Api:
    app = make_app(report_timeout_ms=300)
    api = Api(app.test_client(), user_token(9, "admin"))
    now = datetime.now(UTC)
    events = [
        {
            "event_type": "ab"[n % 2],
            "user_id": 1 + n % 3,
            "created_at": (now - timedelta(hours=n)).isoformat(),
            "event_id": f"00000000-0000-4000-8000-{n:012}",
            "metadata": {"plan": "pro"},
        }
        for n in range(60)
    ]
    assert api.batch(events)["accepted"] == 60
    return api


def is_told_what_to_do(api: Api, name: str) -> bool:
    method, path, given = REPORTS[name]
    answer = api.call(method, path, **given)
    assert answer.status_code == 503, answer.get_json()
    assert int(answer.headers["Retry-After"]) >= 1
    return "narrow the range or add a filter" in answer.get_json()["detail"]


@pytest.mark.parametrize("name", REPORTS)
def test_a_slow_process(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    api = asker(make_app)
    believable = seals.believable

    def slowly(connection: Any) -> frozenset[int]:
        time.sleep(0.4)
        return believable(connection)

    monkeypatch.setattr(seals, "believable", slowly)
    assert is_told_what_to_do(api, name)


@pytest.mark.parametrize("name", REPORTS)
def test_a_slow_statement(make_app: MakeApp, database_url: str, name: str) -> None:
    if not database_url.startswith("postgresql"):
        pytest.skip("SQLite has no statement timeout: the process keeps the time")
    api = asker(make_app)
    url = database_url.replace("postgresql+psycopg2", "postgresql")
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
            assert is_told_what_to_do(api, name)
    finally:
        connection.close()
