"""Reports without an end go up to the next full minute, and within it unchanged data is a 304."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.unit.analytics.conftest import Api, MakeApp, user_token

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
# Some hours ago: ingest has the machine's clock, and takes what is dated up to there.
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)
REPORTS: list[tuple[str, dict[str, Any]]] = [
    ("summary", {}),
    ("summary", {"compare": "previous"}),
    ("summary", {"compare": "previous", "start": (NOON - MINUTE * 70).isoformat()}),
    ("summary", {"compare": "previous", "tz": "Asia/Kathmandu"}),
    *(("timeseries", {"interval": each}) for each in ("minute", "hour", "day", "week", "month")),
    ("timeseries", {"event_type": "a"}),
    ("events/by-type", {}),
    ("events/by-type", {"start": (NOON - timedelta(days=9)).isoformat()}),
    ("breakdown", {"event_type": "a", "key": "k"}),
    ("properties", {}),
    ("paths", {"event_type": "a"}),
    ("retention", {"interval": "day"}),
    ("retention", {"interval": "week", "event_type": "a"}),
    ("live", {}),
    ("events", {}),
    ("users/1/events", {}),
]
SAYS_ITS_END = ("summary", "timeseries", "breakdown", "properties", "paths", "retention", "live")
OF_USER_1 = ("users/1/events",)


class Clock(datetime):
    """What reports take for now."""

    moment = NOON

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return cls.moment


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    """Returns the clock of all reports, ten seconds into a minute."""
    for name in ("reports", "behaviour"):
        monkeypatch.setattr(import_module(f"analytics_app.routes.{name}"), "datetime", Clock)
    monkeypatch.setattr(Clock, "moment", NOON + SECOND * 10)
    return Clock


def send(api: Api, moment: datetime, user_id: int = 1) -> None:
    api.send(
        {
            "event_type": "a",
            "user_id": user_id,
            "created_at": moment.isoformat(),
            "event_id": str(uuid.uuid4()),
            "metadata": {"k": "v"},
        }
    )


def ask(api: Api, path: str, query: dict[str, Any], etag: str = "") -> tuple[int, str]:
    """Returns the status and the ETag of an answer, asked for with the ETag of another."""
    headers = {"If-None-Match": etag} if etag else {}
    answer = api.call("GET", f"/analytics/{path}", query_string=query, headers=headers)
    assert answer.status_code in (200, 304), answer.get_json()
    return answer.status_code, answer.headers["ETag"]


def etags(api: Api) -> list[str]:
    return [ask(api, path, query)[1] for path, query in REPORTS]


def statuses(api: Api, known: list[str]) -> list[tuple[str, int]]:
    """Returns how each report is answered to one who has the answer with that ETag."""
    asked = zip(REPORTS, known, strict=True)
    return [(path, ask(api, path, query, etag)[0]) for (path, query), etag in asked]


def test_unchanged_data_is_a_304_until_the_minute_is_over(admin: Api, clock: type[Clock]) -> None:
    for moment in (NOON, NOON - timedelta(minutes=4, seconds=55), NOON - timedelta(days=3)):
        send(admin, moment)
    known = etags(admin)
    for second in (10, 11, 59):
        clock.moment = NOON + SECOND * second + timedelta(microseconds=999_999)
        assert statuses(admin, known) == [(path, 304) for path, _ in REPORTS]
    clock.moment = NOON + MINUTE
    expected = [(path, 200 if path in SAYS_ITS_END else 304) for path, _ in REPORTS]
    assert statuses(admin, known) == expected


@pytest.mark.parametrize("seconds", [49, 0, -500], ids=["later in this minute", "now", "late"])
def test_an_event_of_the_range_is_a_200_at_once(
    admin: Api, clock: type[Clock], seconds: int
) -> None:
    send(admin, NOON - MINUTE * 20)
    known = etags(admin)
    send(admin, clock.moment + SECOND * seconds, user_id=2)
    expected = [(path, 304 if path in OF_USER_1 else 200) for path, _ in REPORTS]
    assert statuses(admin, known) == expected


@pytest.mark.parametrize("path", ["summary", "timeseries"])
def test_an_event_from_long_ago_is_a_200_at_once(admin: Api, path: str) -> None:
    _, etag = ask(admin, path, {})
    send(admin, NOON - timedelta(days=20))
    assert ask(admin, path, {}, etag)[0] == 200


@pytest.mark.parametrize("second", [0, 1, 59])
def test_the_end_is_the_next_full_minute_and_is_said(
    admin: Api, clock: type[Clock], second: int
) -> None:
    clock.moment = NOON + SECOND * second
    for path, query in REPORTS:
        answer = admin.get(f"/analytics/{path}", **query)
        if "end" in answer:
            assert datetime.fromisoformat(answer["end"]) == NOON + MINUTE
    summary = admin.get("/analytics/summary", tz="Asia/Kathmandu")
    today = (NOON + timedelta(hours=5, minutes=45)).date()
    begun = datetime.fromisoformat(summary["start"]) + timedelta(hours=5, minutes=45)
    assert (begun.date(), begun.hour) == (today - timedelta(days=29), 0)


@pytest.mark.parametrize("interval", ["minute", "hour", "day"])
def test_a_bucket_is_complete_once_its_end_has_passed(
    admin: Api, clock: type[Clock], interval: str
) -> None:
    midnight = NOON - timedelta(hours=12)
    start = midnight - timedelta(hours=48 if interval == "day" else 4)
    asked = {"interval": interval, "start": start.isoformat()}
    for moment, complete in ((midnight - SECOND, False), (midnight, True)):
        clock.moment = moment
        items = admin.get("/analytics/timeseries", **asked)["items"]
        before = [each for each in items if datetime.fromisoformat(each["start"]) < midnight]
        assert len(before) > 1
        assert [each["complete"] for each in before] == [True] * (len(before) - 1) + [complete]
        if interval == "day":
            cohorts = admin.get("/analytics/retention", **asked)["cohorts"]
            assert [each["complete"] for each in cohorts[:2]] == [True, complete]


def test_an_event_of_this_very_moment_is_in_the_next_report(admin: Api, clock: type[Clock]) -> None:
    for second in (0, 1, 59):
        clock.moment = NOON + SECOND * second
        send(admin, clock.moment)
        send(admin, clock.moment + timedelta(microseconds=999_999))
        for asked in ({}, {"start": (clock.moment - MINUTE).isoformat()}):
            assert admin.get("/analytics/summary", **asked)["total_events"] % 2 == 0
    assert admin.get("/analytics/live")["active_users"] == 1


def test_what_is_dated_ahead_is_in_the_report_once_its_minute_has_begun(
    admin: Api, clock: type[Clock]
) -> None:
    send(admin, NOON + MINUTE)
    assert admin.get("/analytics/summary")["total_events"] == 0
    clock.moment = NOON + MINUTE
    assert admin.get("/analytics/summary")["total_events"] == 1


@pytest.fixture
def replicated(make_app: MakeApp, database_url: str, tmp_path: Path) -> Flask:
    """Returns an app that reads from a replica, which here is the same database."""
    url = database_url if "postgresql" in database_url else f"sqlite:///{tmp_path}/analytics.db"
    return make_app(analytics_database_url=url, analytics_replica_url=url)


def test_how_fresh_a_replica_is_changes_no_etag(replicated: Flask) -> None:
    with replicated.app_context():
        api = Api(replicated.test_client(), user_token(1, "admin"))
        send(api, NOON - SECOND)
        for path, query in REPORTS:
            first, second = (api.get(f"/analytics/{path}", **query) for _ in range(2))
            assert first.pop("as_of") < second.pop("as_of")
            assert first == second
        known = etags(api)
        assert statuses(api, known) == [(path, 304) for path, _ in REPORTS]
        send(api, NOON, user_id=2)
        expected = [(path, 304 if path in OF_USER_1 else 200) for path, _ in REPORTS]
        assert statuses(api, known) == expected


@pytest.mark.parametrize("kind", ["ndjson", "csv"])
@pytest.mark.parametrize("events", [0, 1])
def test_an_export_from_a_replica_says_how_fresh_it_is(
    replicated: Flask, app: Flask, admin: Api, kind: str, events: int
) -> None:
    query = {"format": kind}
    with replicated.app_context():
        api = Api(replicated.test_client(), user_token(1, "admin"))
        for _ in range(events):
            send(api, NOON)
        begun = datetime.now(UTC)
        answer = api.call("GET", "/analytics/export", query_string=query)
        as_of = datetime.fromisoformat(answer.headers["As-Of"])
        assert begun - MINUTE < as_of <= datetime.now(UTC)
        assert len(answer.get_data().splitlines()) == events + (kind == "csv")
    plain = admin.call("GET", "/analytics/export", query_string=query)
    assert "As-Of" not in plain.headers
    described = admin.get("/openapi.json")["paths"]["/analytics/export"]["get"]["responses"]
    assert set(described["200"]["headers"]) == {"As-Of"}
