"""Reports agree with the events, to the event, in every zone."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.unit.analytics.conftest import Api, MakeApp, user_token

ZONES = ["UTC", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "Asia/Tehran"]


def at(text: str, kind: str = "a", actor: int | str | None = 1) -> dict[str, Any]:
    person = {"visitor_id": actor} if isinstance(actor, str) else {"user_id": actor}
    return {"event_type": kind, "created_at": text, "event_id": str(uuid.uuid4()), **person}


def every(minutes: int, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """Returns one event for each step, of two types and five people in turn."""
    steps = int((end - start) / timedelta(minutes=minutes))
    return [
        at((start + n * timedelta(minutes=minutes)).isoformat(), "ab"[n % 2], n % 5 or None)
        for n in range(steps)
    ]


def by_local_day(events: list[dict[str, Any]], zone: str) -> dict[date, tuple[int, int]]:
    """Returns events and different people for each local day."""
    counts: Counter[date] = Counter()
    people: dict[date, set[Any]] = {}
    for event in events:
        day = datetime.fromisoformat(event["created_at"]).astimezone(ZoneInfo(zone)).date()
        counts[day] += 1
        people.setdefault(day, set()).update({event["user_id"]} - {None})
    return {day: (n, len(people[day])) for day, n in counts.items()}


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("around", ["2026-03-08", "2026-04-05", "2026-10-04", "2026-11-01"])
def test_every_day_holds_its_own_events_and_no_other(admin: Api, zone: str, around: str) -> None:
    middle = datetime.fromisoformat(around).replace(tzinfo=UTC)
    events = every(7, middle - timedelta(days=3), middle + timedelta(days=3))
    admin.batch(events)
    expected = by_local_day(events, zone)
    first, last = min(expected), max(expected) + timedelta(days=1)
    found = admin.get("/analytics/timeseries", start=str(first), end=str(last), tz=zone)
    assert found["tz"] == zone
    got = {
        datetime.fromisoformat(item["start"]).astimezone(ZoneInfo(zone)).date(): (
            item["count"],
            item["unique_users"],
        )
        for item in found["items"]
    }
    assert got == expected


def test_a_summary_adds_up(admin: Api) -> None:
    events = [
        at("2026-05-01T00:00:00Z"),
        at("2026-05-01T23:59:59.999999Z", "b", 2),
        at("2026-05-02T12:00:00Z", "b", "visitor"),
        at("2026-05-02T12:00:01Z", "b", None),
        at("2026-05-03T00:00:00Z"),
    ]
    admin.batch(events)
    found = admin.get("/analytics/summary", start="2026-05-01", end="2026-05-03")
    points = found.pop("events_over_time")
    assert found == {
        "start": "2026-05-01T00:00:00Z",
        "end": "2026-05-03T00:00:00Z",
        "tz": "UTC",
        "total_events": 4,
        "unique_users": 3,
        "events_by_type": {"b": 3, "a": 1},
        "other": {"types": 0, "count": 0, "unique_users": 0},
    }
    assert [(each["count"], each["unique_users"]) for each in points] == [(2, 2), (2, 1)]
    assert all(each["complete"] for each in points)


@pytest.mark.parametrize(
    ("start", "end", "total", "people"),
    [
        ("2026-05-01T10:07:00Z", "2026-05-01T10:52:00Z", 3, 2),
        ("2026-05-01T10:07:00.000001Z", "2026-05-01T10:52:00.000001Z", 3, 3),
        ("2026-05-01T10:16:00Z", "2026-05-01T10:17:00Z", 0, 0),
        ("2026-05-01T10:20:00Z", "2026-05-01T10:21:00Z", 1, 1),
        ("2026-05-01T10:15:00Z", "2026-05-01T10:30:00Z", 1, 1),
        ("2026-05-01T16:00:00+05:45", "2026-05-01T16:10:00+05:45", 1, 1),
    ],
)
def test_a_range_is_exact_between_quarters_too(
    admin: Api, start: str, end: str, total: int, people: int
) -> None:
    admin.batch(
        [
            at("2026-05-01T10:07:00Z", actor=1),
            at("2026-05-01T10:20:00Z", actor=2),
            at("2026-05-01T10:45:00Z", actor=1),
            at("2026-05-01T10:52:00Z", actor=3),
        ]
    )
    found = admin.get("/analytics/summary", start=start, end=end)
    assert (found["total_events"], found["unique_users"]) == (total, people)
    series = admin.get("/analytics/timeseries", start=start, end=end, interval="minute")
    assert sum(item["count"] for item in series["items"]) == total


def test_every_bucket_is_there_and_the_unfinished_one_is_marked(viewer: Api) -> None:
    now = datetime.now(UTC)
    viewer.send({"event_type": "a"})
    items = viewer.get("/analytics/timeseries", interval="day")["items"]
    assert len(items) == 30
    assert [item["complete"] for item in items] == [True] * 29 + [False]
    assert items[-1]["start"] == f"{now:%Y-%m-%d}T00:00:00Z"
    assert [item["count"] for item in items] == [0] * 29 + [1]


def test_days_of_23_and_25_hours_have_as_many_hours(viewer: Api) -> None:
    def hours(start: str, end: str) -> int:
        zone = "Europe/Berlin"
        query = {"interval": "hour", "start": start, "end": end, "tz": zone}
        return len(viewer.get("/analytics/timeseries", **query)["items"])

    assert hours("2026-03-29", "2026-03-30") == 23
    assert hours("2026-10-25", "2026-10-26") == 25


def test_weeks_begin_on_monday_and_months_on_the_first(viewer: Api) -> None:
    query = {"start": "2026-04-29", "end": "2026-05-05", "tz": "Asia/Kathmandu"}
    weeks = viewer.get("/analytics/timeseries", interval="week", **query)["items"]
    assert [each["start"] for each in weeks] == ["2026-04-26T18:15:00Z", "2026-05-03T18:15:00Z"]
    months = viewer.get("/analytics/timeseries", interval="month", **query)["items"]
    assert [each["start"] for each in months] == ["2026-03-31T18:15:00Z", "2026-04-30T18:15:00Z"]


@pytest.mark.parametrize(
    ("interval", "end", "limit"),
    [("minute", "2026-01-04", "48 hours"), ("hour", "2026-05-01", "92 days")],
)
def test_too_long_a_range_of_fine_buckets_says_the_limit(
    viewer: Api, interval: str, end: str, limit: str
) -> None:
    query = {"interval": interval, "start": "2026-01-01", "end": end}
    answer = viewer.call("GET", "/analytics/timeseries", query_string=query)
    assert answer.status_code == 422
    assert limit in answer.get_json()["errors"][0]["message"]


def test_a_series_of_one_type_counts_its_own_people(admin: Api) -> None:
    admin.batch(
        [
            at("2026-05-01T10:00:00Z", "a", 1),
            at("2026-05-01T11:00:00Z", "b", 2),
            at("2026-05-02T10:00:00Z", "a", 1),
            at("2026-05-02T11:00:00Z", "a", 3),
        ]
    )
    query = {"start": "2026-05-01", "end": "2026-05-03", "event_type": "a"}
    items = admin.get("/analytics/timeseries", **query)["items"]
    assert [(each["count"], each["unique_users"]) for each in items] == [(1, 1), (2, 2)]


def test_the_previous_period_is_as_long_as_has_elapsed(admin: Api) -> None:
    now = datetime.now(UTC)
    start = (now - timedelta(days=2)).date()
    midnight = datetime(start.year, start.month, start.day, tzinfo=UTC)
    elapsed = now - midnight
    admin.batch(
        [
            at((midnight + timedelta(seconds=1)).isoformat()),
            at((midnight - timedelta(days=7) + timedelta(seconds=1)).isoformat()),
            at((midnight - timedelta(days=7) + elapsed + timedelta(hours=1)).isoformat()),
        ]
    )
    end = str(start + timedelta(days=7))
    found = admin.get("/analytics/summary", start=str(start), end=end, compare="previous")
    assert (found["total_events"], found["previous"]["total_events"]) == (1, 1)
    previous = found["previous"]
    assert previous["start"] == f"{start - timedelta(days=7)}T00:00:00Z"
    ended = datetime.fromisoformat(previous["end"]) - datetime.fromisoformat(previous["start"])
    assert elapsed <= ended < elapsed + timedelta(minutes=5)


def test_whole_local_days_are_compared_with_whole_local_days(viewer: Api) -> None:
    query = {"start": "2026-03-29", "end": "2026-04-05", "tz": "Europe/Berlin"}
    found = viewer.get("/analytics/summary", compare="previous", **query)
    assert found["previous"]["start"] == "2026-03-21T23:00:00Z"
    assert found["previous"]["end"] == found["start"] == "2026-03-28T23:00:00Z"


@pytest.mark.parametrize(
    "query",
    [
        {"start": "2026-13-01"},
        {"start": "yesterday"},
        {"start": "2026-05-01T00:00:00"},
        {"start": "0001-01-01"},
        {"end": "9999-12-31"},
        {"start": "2026-05-02", "end": "2026-05-01"},
        {"start": "2026-05-02", "end": "2026-05-02"},
        {"tz": "Mars/Olympus"},
        {"tz": "../etc/passwd"},
        {"tz": "\x00"},
        {"compare": "next"},
        {"unknown": "1"},
    ],
)
def test_a_range_that_makes_no_sense_is_a_422(viewer: Api, query: dict[str, str]) -> None:
    answer = viewer.call("GET", "/analytics/summary", query_string=query)
    assert answer.status_code == 422


def test_daily_counts_in_the_reporting_zone_say_what_the_quarters_say(make_app: MakeApp) -> None:
    from analytics_app import zone_switch
    from analytics_app.models import db

    app = make_app(reporting_timezone="Asia/Kathmandu")
    with app.app_context():
        api = Api(app.test_client(), user_token(1, "admin"))
        start = datetime(2026, 5, 1, tzinfo=UTC)
        api.batch(every(11, start, start + timedelta(days=6)))
        query = {"start": "2026-05-01", "end": "2026-05-08"}
        before = api.get("/analytics/summary", **query)
        assert before["tz"] == "Asia/Kathmandu"
        assert zone_switch.keep_days_in(db, "Asia/Kathmandu")
        assert not zone_switch.keep_days_in(db, "Asia/Kathmandu")
        assert api.get("/analytics/summary", **query) == before
        api.batch(every(13, start, start + timedelta(days=6)))
        from_days = api.get("/analytics/summary", **query)
        assert zone_switch.keep_days_in(db, "UTC")
        from_quarters = api.get("/analytics/summary", **query)
        assert from_days == from_quarters != before


def test_an_etag_spares_a_report_that_did_not_change(admin: Api) -> None:
    query = {"start": "2026-05-01", "end": "2026-05-02"}
    first = admin.call("GET", "/analytics/summary", query_string=query)
    same = {"If-None-Match": first.headers["ETag"]}
    again = admin.call("GET", "/analytics/summary", query_string=query, headers=same)
    assert (again.status_code, again.data) == (304, b"")
    other = admin.call("GET", "/analytics/summary", headers={"If-Match": '"other"'})
    assert other.status_code == 200, "which is asked of changes, and none of an answer"
    admin.send(at("2026-05-01T10:00:00Z"))
    news = admin.call("GET", "/analytics/summary", query_string=query, headers=same)
    assert news.status_code == 200


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("interval", ["hour", "day", "week"])
def test_a_series_by_type_is_the_series_of_each_type(admin: Api, zone: str, interval: str) -> None:
    middle = datetime(2026, 3, 8, tzinfo=UTC)
    admin.batch(every(97, middle - timedelta(days=3), middle + timedelta(days=3)))
    asked = {"start": "2026-03-05T03:20:00Z", "end": "2026-03-10", "tz": zone, "interval": interval}
    split = admin.get("/analytics/timeseries", **asked, fields="start,count,by_type")["items"]
    for kind in "ab":
        own = admin.get("/analytics/timeseries", **asked, event_type=kind)["items"]
        assert [each["by_type"].get(kind, 0) for each in split] == [each["count"] for each in own]
    assert all(each["count"] == sum(each["by_type"].values()) for each in split)
    assert {name for each in split for name in each} == {"start", "count", "by_type", "other"}
    assert {each["other"] for each in split} == {0}


def test_a_series_by_type_of_types_that_never_were_is_empty(admin: Api) -> None:
    admin.send(at("2026-05-01T10:00:00Z"))
    asked = {"start": "2026-05-01", "end": "2026-05-02", "fields": "count,by_type"}
    for interval in ("hour", "day"):
        found = admin.get("/analytics/timeseries", interval=interval, event_type="none", **asked)
        empty = {"count": 0, "by_type": {}, "other": 0}
        assert found["items"] == [empty] * len(found["items"])


def test_a_series_by_type_has_no_minutes(admin: Api) -> None:
    asked = {"interval": "minute", "fields": "start,by_type"}
    answer = admin.call("GET", "/analytics/timeseries", query_string=asked)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.get_json()["errors"]] == ["fields"]


@pytest.mark.parametrize("name", ["right/UTC", "posix/UTC", "localtime", "Factory", "utc"])
def test_every_route_with_a_zone_takes_the_lists_names_alone(admin: Api, name: str) -> None:
    paths = admin.get("/openapi.json")["paths"]
    asked = [
        path.replace("{user_id}", "1")
        for path, operations in paths.items()
        for parameter in operations.get("get", {}).get("parameters", ())
        if parameter["name"] == "tz"
    ]
    assert len(asked) >= 10
    needed = {"event_type": "a", "key": "k", "start_date": "2026-05-01", "end_date": "2026-05-02"}
    for path in asked:
        given = {each["name"] for each in paths_parameters(paths, path)} & needed.keys()
        query = {"tz": name, **{each: needed[each] for each in given}}
        answer = admin.call("GET", path, query_string=query)
        assert answer.status_code == 422, path
        assert [each["field"] for each in answer.get_json()["errors"]] == ["tz"], path
    steps = [{"event_type": "a"}, {"event_type": "b"}]
    for path, more in (("funnel", {}), ("funnel/dropped", {"step": 2})):
        body = {"steps": steps, "tz": name, **more}
        answer = admin.call("POST", f"/analytics/{path}", json=body)
        assert [each["field"] for each in answer.get_json()["errors"]] == ["tz"], path


def paths_parameters(paths: Any, path: str) -> list[Any]:
    found: list[Any] = paths[path.replace("/1/", "/{user_id}/")]["get"]["parameters"]
    return found
