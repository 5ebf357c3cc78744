"""An erasure of many events: out of every answer at once, deleted slice by slice."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from threading import Event as Flag
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event, func, select

from analytics_app import engines, erasure, retention, sweeping
from analytics_app.behaviour import sealing
from analytics_app.models import Count, DayCount, Erasure, Event, db
from tests.unit.analytics.conftest import Api

HEAVY = 7
START = datetime(2026, 3, 1, tzinfo=UTC)
SPAN = {"start": "2026-03-01T00:10:00Z", "end": "2026-03-05T23:50:00Z"}
STEPS = {"steps": [{"event_type": "a"}, {"event_type": "b"}], **SPAN}

# Every route that reads events, so that none shows what is being erased.
READS: dict[str, list[dict[str, Any]]] = {
    "GET /analytics/events": [{}, {"metadata.plan": "pro"}, {"event_type": "b", "limit": "500"}],
    "GET /analytics/events/date-range": [{"start_date": "2026-03-01", "end_date": "2026-03-03"}],
    "GET /analytics/events/by-type": [{}, SPAN],
    f"GET /analytics/users/{HEAVY}/events": [{}],
    "GET /analytics/summary": [SPAN, {**SPAN, "tz": "Asia/Kathmandu", "compare": "previous"}],
    "GET /analytics/timeseries": [
        {**SPAN, "interval": "hour"},
        {**SPAN, "interval": "day", "event_type": "a"},
        {"start": "2026-03-01T00:05:00Z", "end": "2026-03-01T09:00:00Z", "interval": "minute"},
    ],
    "GET /analytics/live": [{}],
    "POST /analytics/funnel": [STEPS],
    "POST /analytics/funnel/dropped": [{**STEPS, "step": 2}],
    "GET /analytics/retention": [{**SPAN, "interval": "day"}],
    "GET /analytics/paths": [{**SPAN, "event_type": "a"}],
    "GET /analytics/properties": [SPAN],
    "GET /analytics/breakdown": [{**SPAN, "event_type": "a", "key": "plan"}],
    "GET /analytics/export": [{}, {"format": "csv"}],
}
READ_NO_EVENTS = ("saved-reports", "annotations", "api-keys", "erasures", "audit")


def heavy_events(n: int = 60) -> list[dict[str, Any]]:
    return [an_event(HEAVY, START + timedelta(minutes=41 * each), each) for each in range(n)]


def an_event(user_id: int, at: datetime, number: int = 0) -> dict[str, Any]:
    return {
        "event_id": str(uuid.uuid4()),
        "event_type": "abc"[number % 3],
        "user_id": user_id,
        "created_at": at.isoformat(),
        "metadata": {"plan": ("pro", "free")[number % 2], "n": user_id},
    }


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes ten events many, and a slice of four of them."""
    monkeypatch.setattr(erasure, "MAX_EVENTS_AT_ONCE", 10)
    monkeypatch.setattr(sweeping, "SLICE_EVENTS", 4)
    monkeypatch.setattr(sweeping, "SHORTEST_PAUSE_SECONDS", 0.0)


class Slices(Flag):
    """Lets a sweep do so many slices, then stops it."""

    def __init__(self, left: int = 10_000) -> None:
        super().__init__()
        self.left = left

    def wait(self, timeout: float | None = None) -> bool:
        self.left -= 1
        if self.left <= 0:
            self.set()
        return self.is_set()


def sweep(slices: int = 10_000) -> None:
    db.session.rollback()
    sweeping.sweep(engines.for_erasures(db), Slices(slices))


def begin(admin: Api, user_id: int = HEAVY) -> int:
    """Erases somebody with many events; returns the erasure's number."""
    db.session.rollback()
    answer = admin.call("DELETE", f"/analytics/users/{user_id}/events")
    assert answer.status_code == 202, answer.get_json()
    number: int = answer.get_json()["erasure"]
    return number


def everything(admin: Api) -> dict[str, Any]:
    """Returns what every reading route answers."""
    db.session.rollback()
    found = {}
    for route, queries in READS.items():
        method, path = route.split()
        for query in queries:
            given = {"json": query} if method == "POST" else {"query_string": query}
            answer = admin.call(method, path, **given)
            assert answer.status_code == 200, (route, answer.get_json())
            found[f"{route} {query}"] = unchanging(answer.get_data())
    return found


def unchanging(data: bytes) -> Any:
    """Returns an answer without what the moment of asking changes."""
    lines = sorted(data.decode().splitlines())
    try:
        document = json.loads(data)
    except ValueError:
        return lines
    return document.get("active_users", document) if isinstance(document, dict) else document


def verify(app: Flask) -> None:
    db.session.rollback()
    done = app.test_cli_runner().invoke(args=["verify"])
    assert done.exit_code == 0, done.output


def left() -> int:
    n = db.session.scalar(select(func.count()).where(Event.actor == HEAVY)) or 0
    db.session.rollback()
    return n


def test_every_route_that_reads_events_is_looked_at(app: Flask) -> None:
    reads = {
        str(rule).replace("<id:user_id>", str(HEAVY))
        for rule in app.url_map.iter_rules()
        if str(rule).startswith("/analytics/") and {"GET", "POST"} & (rule.methods or set())
    }
    own = {path for path in reads if path.split("/")[2] in READ_NO_EVENTS}
    written = {"/analytics/events/batch"}
    assert reads - own - written == {each.split()[1] for each in READS}


@pytest.mark.parametrize("sealed", [False, True])
def test_no_answer_holds_what_is_being_erased(app: Flask, admin: Api, sealed: bool) -> None:
    others = [
        an_event(each % 3 + 1, START + timedelta(minutes=97 * each), each) for each in range(40)
    ]
    admin.batch(others)
    without = everything(admin)
    admin.batch(heavy_events())
    if sealed:
        assert list(sealing.seal_due(db, datetime.now(UTC)))
    assert everything(admin) != without
    number = begin(admin)
    assert everything(admin) == without
    verify(app)
    assert left() == 60
    if sealed:
        assert list(sealing.seal_due(db, datetime.now(UTC))), "while it is open"
        assert everything(admin) == without
    sweep(3)
    assert 0 < left() < 60
    assert everything(admin) == without
    verify(app)
    sweep()
    assert left() == 0
    assert everything(admin) == without
    verify(app)
    assert admin.get(f"/analytics/erasures/{number}")["state"] == "done"


def test_an_erasure_says_how_far_it_is(admin: Api) -> None:
    admin.batch(heavy_events())
    number = begin(admin)
    begun = admin.get(f"/analytics/erasures/{number}")
    assert begun["requested_at"].endswith("Z")
    assert {name: begun[name] for name in begun if name != "requested_at"} == {
        "id": number,
        "state": "erasing",
        "user_id": HEAVY,
        "events": 60,
        "erased": 0,
        "finished_at": None,
    }
    sweep(2)
    assert admin.get(f"/analytics/erasures/{number}")["erased"] == 8
    sweep()
    done = admin.get(f"/analytics/erasures/{number}")
    assert (done["state"], done["erased"]) == ("done", 60)
    assert done["finished_at"] >= done["requested_at"]
    assert admin.call("GET", "/analytics/erasures/999").status_code == 404


def test_the_age_of_the_oldest_open_erasure_is_measured(app: Flask, admin: Api) -> None:
    def age() -> float:
        db.session.rollback()
        lines = admin.call("GET", "/metrics").get_data(as_text=True).splitlines()
        name = "analytics_oldest_erasure_seconds "
        (line,) = [each for each in lines if each.startswith(name)]
        return float(line.removeprefix(name))

    admin.batch(heavy_events())
    assert age() == 0
    begin(admin)
    assert age() > 0
    sweep()
    assert age() == 0


def test_of_a_visitor_no_number_is_told(admin: Api) -> None:
    admin.batch([{**each, "user_id": None, "visitor_id": "v"} for each in heavy_events()])
    answer = admin.call("DELETE", "/analytics/visitors/v/events")
    assert answer.status_code == 202
    shown = admin.get(f"/analytics/erasures/{answer.get_json()['erasure']}")
    assert shown["user_id"] is None
    assert "actor" not in shown


def test_few_events_are_deleted_at_once(admin: Api) -> None:
    admin.batch(heavy_events(10))
    answer = admin.call("DELETE", f"/analytics/users/{HEAVY}/events")
    assert (answer.status_code, answer.get_json()) == (200, {"erased": 10})
    assert left() == 0
    assert db.session.scalars(select(Erasure)).all() == []


def test_what_arrives_while_it_is_open_is_answered_erased(admin: Api) -> None:
    events = heavy_events()
    admin.batch(events)
    begin(admin)
    assert admin.send(events[0], 200) == {"status": "erased"}
    answer = admin.batch([events[1], an_event(HEAVY, START)])
    assert [each["status"] for each in answer["results"]] == ["erased", "erased"]
    sweep(1)
    assert admin.send(events[0], 200) == {"status": "erased"}


def test_a_second_erasure_joins_the_one_that_is_open(app: Flask, admin: Api) -> None:
    admin.batch(heavy_events())
    number = begin(admin)
    sweep(1)
    assert begin(admin) == number
    for n in (3, 15):  # few, and many
        later = datetime.now(UTC) + timedelta(seconds=10 * n)
        admin.batch([an_event(HEAVY, later + timedelta(seconds=each), each) for each in range(n)])
        assert begin(admin) == number
        verify(app)
    assert admin.get(f"/analytics/users/{HEAVY}/events")["items"] == []
    sweep()
    assert left() == 0
    shown = admin.get(f"/analytics/erasures/{number}")
    assert (shown["events"], shown["erased"]) == (78, 78)
    verify(app)


def test_events_dated_ahead_go_too(app: Flask, admin: Api) -> None:
    ahead = datetime.now(UTC) + timedelta(minutes=4)
    admin.batch([*heavy_events(), an_event(HEAVY, ahead)])
    begin(admin)
    assert admin.get(f"/analytics/users/{HEAVY}/events")["items"] == []
    verify(app)
    later = an_event(HEAVY, ahead + timedelta(seconds=1))
    admin.send(later)
    sweep()
    assert [each["event_id"] for each in admin.get("/analytics/events")["items"]] == [
        later["event_id"]
    ]
    verify(app)


def test_who_does_something_afterwards_counts_again(app: Flask, admin: Api) -> None:
    now = datetime.now(UTC)
    admin.batch([*heavy_events(), an_event(HEAVY, now - timedelta(seconds=1))])
    begin(admin)
    admin.send(an_event(HEAVY, datetime.now(UTC) + timedelta(seconds=1)))
    around = {
        "start": (now - timedelta(hours=2)).isoformat(),
        "end": (now + timedelta(hours=2)).isoformat(),
    }
    found = admin.get("/analytics/summary", **around)
    assert (found["total_events"], found["unique_users"]) == (1, 1)
    verify(app)
    begin_again = admin.call("DELETE", f"/analytics/users/{HEAVY}/events")
    assert begin_again.status_code == 202
    assert admin.get("/analytics/summary", **around)["unique_users"] == 0
    verify(app)


def test_counts_of_zero_go(admin: Api) -> None:
    admin.batch(heavy_events())
    admin.send(an_event(1, START))
    begin(admin)
    kept = [(row.event_type, row.count) for row in db.session.scalars(select(Count))]
    days = [(row.event_type, row.count) for row in db.session.scalars(select(DayCount))]
    assert sum(n for _, n in kept) == sum(n for _, n in days) == 1
    assert {kind for kind, _ in kept} == {kind for kind, _ in days} == {"a"}
    db.session.rollback()


def test_events_of_one_moment_are_deleted_in_slices_too(admin: Api) -> None:
    admin.batch([an_event(HEAVY, START) for _ in range(30)])
    begin(admin)
    sweep(2)
    assert left() == 22
    sweep()
    assert left() == 0


def test_a_sweep_that_was_killed_is_gone_on_with(admin: Api) -> None:
    admin.batch(heavy_events())
    number = begin(admin)
    with killed_at_commit(3), pytest.raises(Killed):
        sweep()
    assert left() == 52, "two slices were committed, the third was not"
    sweep()
    shown = admin.get(f"/analytics/erasures/{number}")
    assert (left(), shown["erased"], shown["state"]) == (0, 60, "done")


class Killed(BaseException):
    """The process is gone."""


class killed_at_commit:
    """Ends a sweep in the middle of its n-th slice."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __enter__(self) -> None:
        event.listen(db.engine, "before_cursor_execute", self.count)
        if engines.for_erasures(db) is not db.engine:
            event.listen(engines.for_erasures(db), "before_cursor_execute", self.count)

    def __exit__(self, *_: object) -> None:
        event.remove(db.engine, "before_cursor_execute", self.count)
        if engines.for_erasures(db) is not db.engine:
            event.remove(engines.for_erasures(db), "before_cursor_execute", self.count)

    def count(self, _c: Any, _u: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE erasures"):
            self.left -= 1
            if self.left == 0:
                raise Killed


def test_a_month_that_retention_drops_meanwhile_ends_nothing(app: Flask, admin: Api) -> None:
    old = [an_event(HEAVY, START - timedelta(days=60 - each), each) for each in range(30)]
    admin.batch([*old, *heavy_events()])
    begin(admin)
    sweep(1)
    retention.drop(db, START + timedelta(days=1))
    sweep()
    assert left() == 0
    verify(app)
