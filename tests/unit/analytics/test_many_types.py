"""However many types there are, answers name the most frequent and sum up the rest exactly."""

from __future__ import annotations

import uuid
from importlib import import_module
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text, update

from analytics_app import slots
from analytics_app.models import Bookkeeping, Count, DayCount, db
from analytics_app.zones import moment_at
from tests.unit.analytics.conftest import Api, MakeApp, user_token

DAY = {"start": "2026-05-01", "end": "2026-05-02"}


def an_event(event_type: str, user_id: int | None, hour: int = 10) -> dict[str, Any]:
    moment = f"2026-05-01T{hour:02}:00:00Z"
    event_id = str(uuid.uuid4())
    return {
        "event_type": event_type,
        "created_at": moment,
        "event_id": event_id,
        "user_id": user_id,
    }


@pytest.fixture
def api(make_app: MakeApp) -> Api:
    """Calls as an admin where two types are listed by name."""
    app = make_app(max_types_listed=2)
    app.app_context().push()
    return Api(app.test_client(), user_token(1, "admin"))


def some_of_four_types(api: Api) -> None:
    api.batch(
        [an_event("a", n) for n in (1, 2, 3, 4)]
        + [an_event("b", n) for n in (1, 1, 2)]
        + [an_event("c", 5), an_event("c", 5, 12), an_event("d", 5), an_event("d", None)]
    )


REST = {"types": 2, "count": 4, "unique_users": 1}


@pytest.mark.parametrize("asked", [{}, DAY])
def test_by_type_lists_the_largest_and_counts_the_rest_as_one(
    api: Api, asked: dict[str, str]
) -> None:
    some_of_four_types(api)
    found = api.get("/analytics/events/by-type", **asked)
    assert found["items"] == [
        {"event_type": "a", "count": 4, "unique_users": 4},
        {"event_type": "b", "count": 3, "unique_users": 2},
    ]
    assert (found["other"], found["total"]) == (REST, 11)
    some = api.get("/analytics/events/by-type", event_type=["a", "c"], **asked)
    assert [each["event_type"] for each in some["items"]] == ["a", "c"]
    assert (some["other"], some["total"]) == ({"types": 0, "count": 0, "unique_users": 0}, 6)


def test_the_summary_and_series_do_so_too(api: Api) -> None:
    some_of_four_types(api)
    found = api.get("/analytics/summary", **DAY)
    assert (found["events_by_type"], found["other"]) == ({"a": 4, "b": 3}, REST)
    series = api.get("/analytics/timeseries", interval="hour", fields="count,by_type", **DAY)
    there = [each for each in series["items"] if each["count"]]
    assert there == [
        {"count": 10, "by_type": {"a": 4, "b": 3}, "other": 3},
        {"count": 1, "by_type": {}, "other": 1},
    ]


def test_where_retention_was_the_users_of_the_rest_are_not_known(api: Api) -> None:
    some_of_four_types(api)
    db.session.execute(update(Bookkeeping).values(dropped_before=moment_at(1_780_000_000_000_000)))
    db.session.commit()
    assert api.get("/analytics/summary", **DAY)["other"] == {**REST, "unique_users": None}


@pytest.mark.parametrize(
    ("path", "asked", "field"),
    [
        ("summary", {}, "start"),
        ("timeseries", {"interval": "day"}, "interval"),
        ("timeseries", {"interval": "week"}, "interval"),
        ("timeseries", {"interval": "month"}, "interval"),
    ],
)
def test_a_series_of_too_many_buckets_is_refused_before_any_is_made(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, path: str, asked: dict[str, str], field: str
) -> None:
    def made(*_: object) -> None:
        raise AssertionError("buckets were made")

    app = make_app(max_buckets=100)
    api = Api(app.test_client(), user_token(1, "admin"))
    monkeypatch.setattr(import_module("analytics_app.reports"), "buckets", made)
    query = {**asked, "start": "1970-02-01", "end": "2200-01-01"}
    answer = api.call("GET", f"/analytics/{path}", query_string=query)
    assert answer.status_code == 422
    (error,) = answer.get_json()["errors"]
    assert error["field"] == field
    assert "at most 100 are answered (MAX_BUCKETS)" in error["message"]
    if path == "summary":
        assert api.get("/analytics/summary", **query, fields="total_events")["total_events"] == 0


@pytest.mark.parametrize(
    ("interval", "start", "fits", "over"),
    [
        ("minute", "2026-05-01T00:00:30Z", "2026-05-01T00:10:00Z", "2026-05-01T00:10:01Z"),
        ("hour", "2026-05-01", "2026-05-01T10:00:00Z", "2026-05-01T10:15:00Z"),
        ("day", "2026-05-01T12:00:00Z", "2026-05-11", "2026-05-11T00:15:00Z"),
        ("week", "2026-05-06", "2026-07-13", "2026-07-14"),
        ("month", "2026-05-31", "2027-03-01", "2027-03-02"),
    ],
)
def test_as_many_buckets_as_the_limit_says_are_answered(
    make_app: MakeApp, interval: str, start: str, fits: str, over: str
) -> None:
    api = Api(make_app(max_buckets=10).test_client(), user_token(1, "admin"))
    query = {"interval": interval, "start": start}
    assert len(api.get("/analytics/timeseries", **query, end=fits)["items"]) == 10
    answer = api.call("GET", "/analytics/timeseries", query_string={**query, "end": over})
    assert answer.status_code == 422


def zeros() -> int:
    found: int = sum(
        db.session.execute(
            text(
                f"SELECT count(*) FROM (SELECT 1 FROM {table} "
                f"GROUP BY {unit}, event_type HAVING sum(count) = 0) AS gone"
            )
        ).scalar_one()
        for table, unit in (("counts", "quarter"), ("counts_day", "day"))
    )
    db.session.rollback()
    return found


def rows() -> int:
    found = sum(len(db.session.execute(select(each)).all()) for each in (Count, DayCount))
    db.session.rollback()
    return found


def test_what_an_erasure_brings_to_nothing_leaves_no_row(app: Flask, admin: Api) -> None:
    admin.batch([an_event(f"kind_{n}", 5) for n in range(300)])
    admin.batch([an_event(f"kind_{n}", 6) for n in range(3)])
    admin.call("DELETE", "/analytics/users/5/events")
    assert zeros() == 0
    assert admin.get("/analytics/summary", **DAY)["total_events"] == 3
    slots.fold(db, moment_at(1_790_000_000_000_000))
    admin.call("DELETE", "/analytics/users/6/events")
    assert rows() == 0
    admin.send(an_event("kind_1", 7))
    assert admin.get("/analytics/summary", **DAY)["events_by_type"] == {"kind_1": 1}
