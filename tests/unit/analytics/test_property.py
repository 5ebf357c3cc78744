"""Whatever happens in whatever order, every report equals a plain recomputation."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from analytics_app import engines, erasure, maintenance, retention, slots, sweeping
from analytics_app.models import db
from analytics_app.services import services_in
from chassis.database import writing
from tests.unit.analytics.conftest import Api, MakeApp, service_token, user_token

ZONES = ["UTC", "Asia/Kathmandu", "America/New_York"]
FIRST = datetime(2026, 2, 25, tzinfo=UTC)
DAYS = 20  # over the end of a month, and over New York's change of clocks
SPAN = {"start": "2026-02-20", "end": "2026-03-20"}
PEOPLE: list[dict[str, Any]] = [{"user_id": 1}, {"user_id": 2}, {"visitor_id": "v"}, {}]
MONTH = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Kept:
    """One event as a plain recomputation sees it; `person` is None for nobody."""

    event_id: str
    kind: str
    moment: datetime
    person: str | None


class Plain:
    """The model: a list of events, and the few rules of what may come in."""

    def __init__(self) -> None:
        self.events: list[Kept] = []
        self.erased: set[str] = set()
        self.dropped_before: datetime | None = None

    def take(self, event: Kept) -> bool:
        """Adds the event if it may come in."""
        too_old = self.dropped_before is not None and event.moment < self.dropped_before
        there = any(each == replace(event, kind=each.kind) for each in self.events)
        if too_old or there or event.person in self.erased:
            return False
        self.events.append(event)
        return True

    def erase(self, person: str) -> None:
        """Removes a person; what retention dropped before is nobody's from then on."""
        self.erased.add(person)
        dropped = self.dropped_before or FIRST - timedelta(days=99)
        self.events = [
            replace(each, person=None) if each.person == person else each
            for each in self.events
            if each.person != person or each.moment < dropped
        ]

    def summary(self, zone: str) -> dict[str, Any]:
        """Returns the summary's figures over the whole span."""
        days: dict[date, list[Kept]] = {}
        kinds: dict[str, int] = {}
        for event in self.events:
            days.setdefault(event.moment.astimezone(ZoneInfo(zone)).date(), []).append(event)
            kinds[event.kind] = kinds.get(event.kind, 0) + 1
        return {
            "total": len(self.events),
            "people": people(self.events),
            "kinds": kinds,
            "days": {day: (len(found), people(found)) for day, found in days.items()},
        }


def people(events: list[Kept]) -> int:
    return len({each.person for each in events} - {None})


def answered(api: Api, zone: str) -> dict[str, Any]:
    """Returns the same figures as the service answers them."""
    found = api.get("/analytics/summary", tz=zone, **SPAN)
    return {
        "total": found["total_events"],
        "people": found["unique_users"],
        "kinds": found["events_by_type"],
        "days": {
            datetime.fromisoformat(point["start"]).astimezone(ZoneInfo(zone)).date(): (
                point["count"],
                point["unique_users"],
            )
            for point in found["events_over_time"]
            if point["count"]
        },
    }


# An event is three small numbers and a time, so that repeats and collisions are common.
EVENTS = st.tuples(
    st.integers(0, 5),
    st.sampled_from(["a", "b"]),
    st.integers(0, DAYS * 96 - 1).map(lambda n: FIRST + timedelta(minutes=15 * n, seconds=n % 900)),
    st.integers(0, len(PEOPLE) - 1),
)
STEPS = st.one_of(
    st.tuples(st.just("one"), EVENTS),
    st.tuples(st.just("batch"), st.lists(st.one_of(EVENTS, st.none()), max_size=12)),
    st.tuples(st.just("replay"), st.integers(0, 30)),
    st.tuples(st.just("erase"), st.integers(0, 2)),
    st.tuples(st.just("sweep"), st.integers(1, 3)),
    st.tuples(st.just("retention"), st.none()),
    st.tuples(st.just("fold"), st.none()),
    st.tuples(st.just("zone"), st.sampled_from(ZONES)),
)


class Run:
    """One sequence of steps, on the service and on the model."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.admin = Api(app.test_client(), user_token(1, "admin"))
        self.users = Api(app.test_client(), service_token())
        self.plain = Plain()
        self.sent: list[tuple[int, str, datetime, int]] = []

    def step(self, name: str, given: Any) -> None:
        getattr(self, name)(given)

    def one(self, event: tuple[int, str, datetime, int]) -> None:
        answer = self.admin.call("POST", "/analytics/events", json=body(event))
        assert (answer.status_code == 201) == self.plain.take(kept(event))
        assert answer.status_code in (200, 201, 422)
        self.sent.append(event)

    def batch(self, events: list[tuple[int, str, datetime, int] | None]) -> None:
        bodies = [body(each) if each else {"event_type": "not good"} for each in events]
        answer = self.admin.batch(bodies)
        taken = [each is not None and self.plain.take(kept(each)) for each in events]
        assert answer["accepted"] == sum(taken)
        refused = [index for index, fine in enumerate(taken) if not fine]
        assert [each["index"] for each in answer["results"]] == refused
        self.sent += [each for each in events if each]

    def replay(self, number: int) -> None:
        if self.sent:
            self.one(self.sent[number % len(self.sent)])

    def erase(self, number: int) -> None:
        person = PEOPLE[number]
        if "user_id" in person:
            path = f"/analytics/users/{person['user_id']}/events"
        else:
            path = f"/analytics/visitors/{person['visitor_id']}/events"
        assert self.users.call("DELETE", path).status_code in (200, 202)
        self.plain.erase(str(person))

    def sweep(self, slices: int) -> None:
        with engines.for_erasures(db).connect() as connection:
            for _ in range(slices):
                with writing(connection):
                    sweeping.next_slice(connection, None)

    def retention(self, _: None) -> None:
        dropped = retention.drop(db, MONTH + timedelta(days=2))
        if dropped.before:
            assert dropped.before == MONTH
            self.plain.dropped_before = MONTH

    def fold(self, _: None) -> None:
        slots.fold(db, datetime.now(UTC))

    def zone(self, name: str) -> None:
        settings = services_in(self.app).settings.model_copy(update={"reporting_timezone": name})
        maintenance.run_round(db, settings, datetime.now(UTC))

    def check(self) -> None:
        for zone in ZONES:
            assert answered(self.admin, zone) == self.plain.summary(zone)
        verified = self.app.test_cli_runner().invoke(args=["verify"])
        assert verified.exit_code == 0, verified.output


def body(event: tuple[int, str, datetime, int]) -> dict[str, Any]:
    number, kind, moment, person = event
    return {
        "event_id": str(uuid.UUID(int=number + 1, version=4)),
        "event_type": kind,
        "created_at": moment.isoformat(),
        **PEOPLE[person],
    }


def kept(event: tuple[int, str, datetime, int]) -> Kept:
    number, kind, moment, person = event
    return Kept(str(number), kind, moment, str(PEOPLE[person]) if PEOPLE[person] else None)


@contextmanager
def emptied(app: Flask) -> Iterator[None]:
    """Runs with empty tables, and a new context."""
    with app.app_context():
        for table in reversed(db.metadata.sorted_tables):
            if table.name not in ("bookkeeping", "audit"):
                db.session.execute(table.delete())
        db.session.execute(
            text("UPDATE bookkeeping SET dropped_before = NULL, reporting_zone = 'UTC'")
        )
        db.session.commit()
        yield


@pytest.fixture
def shared_app(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """Returns one app for all examples: making a database for each would take all the time.

    Three events are many there, and are deleted two by two.
    """
    monkeypatch.setattr(erasure, "MAX_EVENTS_AT_ONCE", 2)
    monkeypatch.setattr(sweeping, "SLICE_EVENTS", 2)
    return make_app(secret_key=secrets.token_hex(32))


def test_every_report_equals_a_plain_recomputation(shared_app: Flask) -> None:
    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.lists(STEPS, min_size=1, max_size=15))
    def holds(steps: list[tuple[str, Any]]) -> None:
        with emptied(shared_app):
            run = Run(shared_app)
            for name, given_ in steps:
                run.step(name, given_)
            run.check()

    checked: Callable[[], None] = holds
    checked()
