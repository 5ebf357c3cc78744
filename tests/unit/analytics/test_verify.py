"""Verification finds what differs, rebuilding corrects it, retention keeps the counts."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, event, func, select, update

from analytics_app import retention, slots, verification
from analytics_app.dialects import sqlite
from analytics_app.models import Bookkeeping, Count, DayCount, Event, Presence, db
from tests.unit.analytics.conftest import Api, MakeApp, user_token

SPAN = {"start": "2026-01-01", "end": "2026-06-01"}


def events(n: int = 300) -> list[dict[str, Any]]:
    start = datetime(2026, 2, 26, tzinfo=UTC)
    return [
        {
            "event_type": "ab"[each % 2],
            "created_at": (start + timedelta(minutes=37 * each)).isoformat(),
            "event_id": str(uuid.uuid4()),
            "user_id": each % 9 + 1,
        }
        for each in range(n)
    ]


def run(app: Flask, *words: str) -> tuple[int, str]:
    done = app.test_cli_runner().invoke(args=list(words))
    return done.exit_code, done.output


DAMAGES = [
    update(Count).values(count=Count.count + 1).where(Count.event_type == "a"),
    delete(Count).where(Count.event_type == "b"),
    update(DayCount).values(count=DayCount.count - 2),
    delete(DayCount),
    delete(Presence).where(Presence.actor < 4),
    update(Presence).values(low=Presence.low + 0, high=(1 << 48) - 1),
    update(Presence).values(actor=-Presence.actor),
]


@pytest.mark.parametrize("number", range(len(DAMAGES)))
def test_what_differs_is_found_and_corrected(app: Flask, admin: Api, number: int) -> None:
    admin.batch(events())
    right = admin.get("/analytics/summary", **SPAN)
    assert run(app, "verify")[0] == 0
    db.session.execute(DAMAGES[number])
    db.session.commit()
    status, said = run(app, "verify")
    assert status == 1
    assert "differ" in said
    status, said = run(app, "rebuild", "--from", "2026-02-01", "--to", "2026-04-01")
    assert status == 0, said
    assert run(app, "verify")[0] == 0
    assert admin.get("/analytics/summary", **SPAN) == right


def test_rebuilding_some_days_leaves_the_others(app: Flask, admin: Api) -> None:
    admin.batch(events())
    db.session.execute(delete(Count))
    db.session.commit()
    run(app, "rebuild", "--from", "2026-02-27", "--to", "2026-02-28")
    days = db.session.scalars(select(func.count(func.distinct(Count.quarter // 96)))).one()
    assert days == 2


def test_folded_slots_say_the_same(app: Flask, admin: Api) -> None:
    admin.batch(events())
    before = admin.get("/analytics/summary", **SPAN)
    slots.fold(db, datetime(2026, 3, 4, tzinfo=UTC))
    slots.fold(db, datetime(2026, 3, 4, tzinfo=UTC))
    assert admin.get("/analytics/summary", **SPAN) == before
    assert run(app, "verify")[0] == 0


def test_retention_previews_then_drops_and_keeps_the_counts(make_app: MakeApp) -> None:
    app = make_app(retention_days=200)
    with app.app_context():
        admin = Api(app.test_client(), user_token(1, "admin"))
        sent = events()
        admin.batch(sent)
        before = admin.get("/analytics/summary", **SPAN)
        days = (datetime.now(UTC) - datetime(2026, 3, 2, tzinfo=UTC)).days
        status, said = run(app, "retention", "--days", str(days))
        february = [each for each in sent if each["created_at"] < "2026-03-01"]
        assert f"Would drop {len(february)} events from before 2026-03-01" in said
        assert len(admin.get("/analytics/events", limit=500)["items"]) == len(sent)
        status, said = run(app, "retention", "--days", str(days), "--apply")
        assert (status, said.startswith("Dropped")) == (0, True)
        left = admin.get("/analytics/events", limit=500)["items"]
        assert len(left) == len(sent) - len(february)
        assert admin.get("/analytics/summary", **SPAN) == before
        assert db.session.scalars(select(Bookkeeping.dropped_before)).one() is not None
        db.session.rollback()
        assert run(app, "verify")[0] == 0
        run(app, "rebuild", "--from", "2026-02-01", "--to", "2026-04-01")
        assert admin.get("/analytics/summary", **SPAN) == before


@pytest.fixture
def dropped(app: Flask, admin: Api) -> list[dict[str, Any]]:
    """Returns events of which those from before March were dropped."""
    sent = events()
    admin.batch(sent)
    days = (datetime.now(UTC) - datetime(2026, 3, 2, tzinfo=UTC)).days
    run(app, "retention", "--days", str(days), "--apply")
    return sent


def test_a_replay_of_what_was_dropped_is_too_old(admin: Api, dropped: list[dict[str, Any]]) -> None:
    before = admin.get("/analytics/summary", **SPAN)
    refused = admin.send(dropped[0], 422)
    assert refused["errors"][0]["field"] == "created_at"
    assert refused["errors"][0]["message"].startswith("too_old")
    answer = admin.batch(dropped)
    assert answer["accepted"] == 0
    assert {each["status"] for each in answer["results"]} == {"rejected", "duplicate"}
    assert admin.get("/analytics/summary", **SPAN) == before


def test_reports_that_need_dropped_events_name_the_day(
    admin: Api, dropped: list[dict[str, Any]]
) -> None:
    for path, query in {
        "/analytics/events/by-type": SPAN,
        "/analytics/timeseries": {**SPAN, "event_type": "a"},
        "/analytics/summary": {"start": "2026-02-27T10:07:00Z", "end": "2026-05-01"},
    }.items():
        answer = admin.call("GET", path, query_string=query)
        assert answer.status_code == 422
        assert "2026-03-01" in answer.get_json()["errors"][0]["message"]


def test_by_type_without_a_range_says_what_the_summary_of_all_says(
    make_app: MakeApp,
) -> None:
    app = make_app(max_types_listed=2)
    with app.app_context():
        admin = Api(app.test_client(), user_token(1, "admin"))
        late = {"created_at": "2026-03-20T10:00:00Z", "metadata": {}}
        new = [
            {**late, "event_type": kind, "user_id": n, "event_id": str(uuid.uuid4())}
            for kind in ("new", "rare") for n in range(1, 200 if kind == "new" else 4)
        ]  # fmt: skip
        admin.batch([*events(), *new])
        days = (datetime.now(UTC) - datetime(2026, 3, 2, tzinfo=UTC)).days
        run(app, "retention", "--days", str(days), "--apply")
        found = admin.get("/analytics/events/by-type")
        for tz in ("UTC", "Asia/Kathmandu", "America/New_York"):
            summary = admin.get("/analytics/summary", start="1990-01-01", end="2050-01-01",
                                tz=tz, fields="total_events,events_by_type,other")  # fmt: skip
            assert {each["event_type"]: each["count"] for each in found["items"]} == summary[
                "events_by_type"
            ]
            assert (found["total"], found["other"]) == (summary["total_events"], summary["other"])
        assert found["total"] == len([*events(), *new])
        unique = {each["event_type"]: each["unique_users"] for each in found["items"]}
        assert unique["new"] == 199, "of this type nothing was dropped"
        assert set(unique.values()) == {199, None}
        assert found["other"]["unique_users"] is None
        only = admin.get("/analytics/events/by-type", event_type="rare")
        assert (only["total"], only["items"][0]["unique_users"]) == (3, 3)
        since = admin.get("/analytics/events/by-type", start="2026-03-01")
        assert since["total"] < found["total"]
        assert all(each["unique_users"] is not None for each in since["items"])


def test_maintenance_does_all_that_is_due_and_may_run_twice(make_app: MakeApp) -> None:
    app = make_app(reporting_timezone="Asia/Kathmandu", retention_days=30)
    with app.app_context():
        admin = Api(app.test_client(), user_token(1, "admin"))
        admin.batch(events())
        before = admin.get("/analytics/summary", **SPAN)
        for _ in range(2):
            status, said = run(app, "maintain", "--once")
            assert status == 0, said
        assert admin.get("/analytics/summary", **SPAN) == before
        assert admin.get("/analytics/events")["items"] == []
        assert run(app, "verify")[0] == 0


def test_there_is_nothing_to_verify_in_an_empty_database(app: Flask) -> None:
    assert len(verification.days_to_check(db)) == 0
    assert run(app, "verify")[0] == 0


def test_the_last_microsecond_of_a_quarter_belongs_to_it(app: Flask, admin: Api) -> None:
    edge = {**events(1)[0], "created_at": "2026-02-26T10:14:59.999999Z"}
    admin.batch([edge])
    status, said = run(app, "verify")
    assert status == 0, said
    minutes = admin.get(
        "/analytics/timeseries",
        start="2026-02-26T10:14:00Z", end="2026-02-26T10:16:00Z", interval="minute",
    )  # fmt: skip
    assert [each["count"] for each in minutes["items"]] == [1, 0]


def test_retention_deletes_by_slices_on_sqlite(
    app: Flask, admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    if db.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL drops whole partitions")
    monkeypatch.setattr(sqlite, "SLICE_EVENTS", 10)
    admin.batch(events())
    deletions: list[str] = []

    def note(_c: Any, _u: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE FROM events"):
            deletions.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    dropped = retention.drop(db, datetime(2026, 3, 2, tzinfo=UTC))
    event.remove(db.engine, "before_cursor_execute", note)
    assert dropped.events > 50
    assert len(deletions) == dropped.events // 10 + 1
    left = db.session.scalars(select(func.min(Event.created_at))).one()
    assert left >= datetime(2026, 3, 1, tzinfo=UTC)
