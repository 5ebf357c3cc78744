"""Whatever happens in whatever order, every report equals a plain recomputation.

`make test` tries the same histories each time, `make exact` goes on with fresh ones. It prints
their seeds; with SEED it tries those of one again.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from threading import Event as Flag
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st
from sqlalchemy import text

from analytics_app import engines, erasure, event_types, maintenance, retention, slots, sweeping
from analytics_app.behaviour.sealing import seal_due
from analytics_app.models import db
from analytics_app.services import services_in
from chassis.database import writing
from tests.unit.analytics.conftest import Api, MakeApp, service_token, user_token
from tests.unit.analytics.oracle import (
    Person,
    Sent,
    TimeRange,
    World,
    in_order,
    midnight,
    shown_line,
)
from tests.unit.analytics_behaviour.agreement import all_agree

EXAMPLES = 8
HISTORIES_A_SEED = 10
# UTC, no whole hours, and clocks that change: at two in the morning, and at midnight itself.
ZONES = ("UTC", "Asia/Kathmandu", "America/New_York", "America/Havana")
FIRST = datetime(2026, 2, 25, tzinfo=UTC)
MONTH = datetime(2026, 3, 1, tzinfo=UTC)
NOW = datetime(2026, 3, 17, 12, 34, 10, tzinfo=UTC)
DAYS = 20  # over the end of a month, and over both changes of clocks
KINDS = ("signup", "view", "cart", "purchase")
PEOPLE: tuple[Person, ...] = (1, 2, 3, 70_000, 2**40, "ann", "bob", None)
PLANS: tuple[Any, ...] = ("pro", "free", "Größe", 3, "3", 2.5, True, None, ["a"], {"b": 1})
PRICES: tuple[Any, ...] = (1, 2, 5, 10, 19.5, -4, "free", None)
MOST_TYPES = 2


class Clock(datetime):
    """What reports and erasures take for now."""

    moment = NOW

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return cls.moment


def moment_of(day: int, quarter: int, offset: int) -> datetime:
    """Returns a moment that lies on a quarter-hour, or a little before or after it."""
    found = FIRST + timedelta(days=day, minutes=15 * quarter)
    return max(FIRST, found + timedelta(microseconds=offset))


def recent(seconds: int) -> datetime:
    return NOW + timedelta(seconds=seconds)


# Seconds from now to where reports of the last minutes begin and end, and a little beyond.
EDGES = (-1751, -1750, -310, -260, -251, -250, -1, 0, 49, 50, 51)
OFFSETS = st.sampled_from([0, 0, -1, 1, 1_000_000, 59_999_999, 60_000_000, 899_000_000])
MOMENTS = st.one_of(
    st.builds(moment_of, st.integers(0, DAYS - 1), st.integers(0, 95), OFFSETS),
    st.one_of(st.integers(-2400, 400), st.sampled_from(EDGES)).map(recent),
)
METADATA = st.fixed_dictionaries(
    {}, optional={"plan": st.sampled_from(PLANS), "price": st.sampled_from(PRICES)}
)
# Few numbers, so that repeats and collisions are common.
EVENTS = st.builds(
    Sent, st.integers(0, 5), st.sampled_from(KINDS), MOMENTS, st.sampled_from(PEOPLE), METADATA
)
BULKS = st.tuples(st.just("bulk"), st.integers(0, 10**6))
STEPS = st.one_of(
    st.tuples(st.just("one"), EVENTS),
    st.tuples(st.just("batch"), st.lists(st.one_of(EVENTS, st.none()), max_size=12)),
    BULKS,
    BULKS,
    st.tuples(st.just("replay"), st.integers(0, 10**6)),
    st.tuples(st.just("erase"), st.tuples(st.integers(0, len(PEOPLE) - 2), st.booleans())),
    st.tuples(st.just("erase_type"), st.sampled_from(KINDS)),
    st.tuples(st.just("sweep"), st.integers(1, 3)),
    st.tuples(st.just("seal"), st.none()),
    st.tuples(st.just("rebuild"), st.none()),
    st.tuples(st.just("retention"), st.none()),
    st.tuples(st.just("retention"), st.none()),
    st.tuples(st.just("fold"), st.none()),
    st.tuples(st.just("zone"), st.sampled_from(ZONES)),
    st.tuples(st.just("wait"), st.integers(1, 400)),
)
HISTORIES = st.builds(
    lambda first, further: [first, *further], BULKS, st.lists(STEPS, min_size=3, max_size=14)
)


class Run:
    """One history, at the service and in the model."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.admin = Api(app.test_client(), user_token(1, "admin"))
        self.users = Api(app.test_client(), service_token())
        self.world = World(NOW, MOST_TYPES)
        self.sent: list[Sent] = []
        Clock.moment = NOW

    def step(self, name: str, given_: Any) -> None:
        getattr(self, name)(given_)

    # What happens

    def one(self, sent: Sent) -> None:
        answer = self.admin.call("POST", "/analytics/events", json=sent.body())
        fate = self.world.take(sent)
        assert (answer.status_code, answer.get_json().get("status") == "erased") == {
            "accepted": (201, False),
            "duplicate": (200, False),
            "erased": (200, True),
            "rejected": (422, False),
        }[fate], fate
        self.sent.append(sent)

    def batch(self, events: list[Sent | None]) -> None:
        bodies = [each.body() if each else {"event_type": "not good"} for each in events]
        answer = self.admin.batch(bodies)
        fates = [self.world.take(each) if each else "rejected" for each in events]
        found = [(each["index"], each["status"]) for each in answer["results"]]
        assert found == [(n, fate) for n, fate in enumerate(fates) if fate != "accepted"]
        assert answer["accepted"] == fates.count("accepted")
        for name, fate in (("duplicates", "duplicate"), ("rejected",) * 2, ("erased",) * 2):
            assert answer[name] == fates.count(fate)
        self.sent += [each for each in events if each]

    def bulk(self, number: int) -> None:
        """Sends some dozens of events that one number stands for."""
        chance = random.Random(number)
        self.batch([an_event(chance, 100 + n) for n in range(chance.randrange(20, 60))])

    def replay(self, number: int) -> None:
        if self.sent:
            self.one(self.sent[number % len(self.sent)])

    def erase(self, given_: tuple[int, bool]) -> None:
        number, for_ever = given_
        person = PEOPLE[number]
        kind = "visitors" if isinstance(person, str) else "users"
        by = self.users if for_ever else self.admin
        answer = by.call("DELETE", f"/analytics/{kind}/{person}/events")
        assert answer.status_code in (200, 202)
        self.world.erase(person, for_ever=for_ever and kind == "users")

    def erase_type(self, kind: str) -> None:
        answer = self.admin.call("DELETE", f"/analytics/event-types/{kind}")
        assert answer.status_code in (200, 202, 404)
        event_types.sweep(engines.for_erasures(db), Flag())
        if answer.status_code == 404:
            assert not any(fact.kind == kind for fact in self.world.raw())
        else:
            self.world.erase_type(kind)

    def sweep(self, slices: int) -> None:
        with engines.for_erasures(db).connect() as connection:
            for _ in range(slices):
                with writing(connection):
                    sweeping.next_slice(connection, None)

    def seal(self, _: None) -> None:
        list(seal_due(db, self.world.now))

    def rebuild(self, _: None) -> None:
        self.command("rebuild", "--from", "2026-02-01", "--to", "2026-04-01")

    def retention(self, _: None) -> None:
        dropped = retention.drop(db, MONTH + timedelta(days=2))
        if dropped.before:
            assert dropped.before == MONTH
            self.world.drop(MONTH)

    def fold(self, _: None) -> None:
        slots.fold(db, datetime.now(UTC))

    def zone(self, name: str) -> None:
        changed = services_in(self.app).settings.model_copy(update={"reporting_timezone": name})
        maintenance.run_round(db, changed, self.world.now)

    def wait(self, seconds: int) -> None:
        self.world.now = Clock.moment = self.world.now + timedelta(seconds=seconds)

    # What is looked at

    def check(self, zone: str) -> None:
        """Fails unless every report says what the model says."""
        self.summaries_agree(zone)
        self.series_agree(zone)
        self.types_agree(zone)
        self.live_agrees()
        self.lists_agree(zone)
        self.exports_agree()
        self.behaviour_agrees(zone)
        self.command("verify")

    def command(self, *words: str) -> None:
        done = self.app.test_cli_runner().invoke(args=list(words))
        assert done.exit_code == 0, done.output

    def get(self, path: str, needs_raw_since: datetime | None = None, **query: Any) -> Any:
        """Returns a report; None where it needs what retention dropped, and says so."""
        answer = self.admin.call("GET", f"/analytics/{path}", query_string=query)
        if needs_raw_since and self.world.is_dropped(needs_raw_since):
            assert answer.status_code == 422, (path, query)
            (error,) = answer.get_json()["errors"]
            assert (error["field"], f"{MONTH:%Y-%m-%d}" in error["message"]) == ("start", True)
            return None
        assert answer.status_code == 200, (path, query, answer.get_json())
        return answer.get_json()

    def days(self, first: str, last: str, zone: str) -> TimeRange:
        edges = (midnight(datetime.fromisoformat(each).date(), zone) for each in (first, last))
        return TimeRange(*edges)

    def all_days(self, zone: str) -> TimeRange:
        return self.days("2026-02-20", "2026-03-25", zone)

    def summaries_agree(self, zone: str) -> None:
        world, end = self.world, self.world.open_end()
        today = world.now.astimezone(ZoneInfo(zone)).date()
        usual = TimeRange(midnight(today - timedelta(days=29), zone), end)
        ragged = TimeRange(FIRST + timedelta(days=2, seconds=20_833), NOW - timedelta(seconds=7))
        over = self.days("2026-03-09", "2026-03-13", zone)
        lasting = self.days("2026-03-12", "2026-03-20", zone)
        for asked, within, before, raw_since in (
            (bounds_in_days("2026-02-20", "2026-03-25"), self.all_days(zone), None, None),
            ({}, usual, None, None),
            (bounds(ragged), ragged, None, ragged.start),
            # Of whole days, the days before; of days that last, up to the same elapsed time.
            (bounds_in_days("2026-03-09", "2026-03-13"), over,
             self.days("2026-03-05", "2026-03-09", zone), None),
            (bounds_in_days("2026-03-12", "2026-03-20"), lasting,
             began(self.days("2026-03-04", "2026-03-12", zone), end - lasting.start), None),
        ):  # fmt: skip
            compare = {"compare": "previous"} if before else {}
            found = self.get("summary", raw_since, tz=zone, **asked, **compare)
            if found is None:
                continue
            assert found.pop("tz") == zone
            previous = found.pop("previous", None)
            assert parsed(found) == world.summary(within, zone), (asked, zone)
            if before:
                assert parsed(previous) == world.summary(before, zone), (asked, zone)

    def series_agree(self, zone: str) -> None:
        hours = self.days("2026-03-06", "2026-03-10", zone)
        minutes = TimeRange(NOW - timedelta(minutes=90, seconds=3), self.world.open_end())
        ragged = TimeRange(MONTH + timedelta(hours=3, seconds=7), NOW - timedelta(hours=5))
        for interval, within in (
            ("minute", minutes), ("hour", hours), ("hour", ragged), ("day", self.all_days(zone)),
            ("day", ragged), ("week", self.all_days(zone)), ("month", self.all_days(zone)),
        ):  # fmt: skip
            asked = {"interval": interval, "tz": zone, **bounds(within)}
            for kinds in ((), ("view", "cart"), ("signup",)):
                raw_since = within.start if kinds else None
                found = self.get("timeseries", raw_since, event_type=kinds, **asked)
                if found is not None:
                    expected = self.world.series(within, zone, interval, kinds)
                    assert parsed(found["items"]) == expected, (asked, kinds)
                if interval != "minute":
                    fields = {"fields": "start,count,by_type"}
                    found = self.get("timeseries", event_type=kinds, **fields, **asked)
                    expected = self.world.series_by_type(within, zone, interval, kinds)
                    assert parsed(found["items"]) == expected, (asked, kinds)

    def types_agree(self, zone: str) -> None:
        ever = TimeRange(FIRST - timedelta(days=30), NOW + timedelta(days=30))
        some = self.days("2026-03-05", "2026-03-15", zone)
        ragged = TimeRange(FIRST + timedelta(seconds=7), NOW - timedelta(seconds=7))
        for asked, within, raw_since in (
            ({}, ever, None),
            (bounds_in_days("2026-03-05", "2026-03-15"), some, None),
            (bounds(ragged), ragged, ragged.start),
        ):
            for kinds in ((), ("view",), ("signup", "cart", "none")):
                found = self.get("events/by-type", raw_since, tz=zone, event_type=kinds, **asked)
                if found is not None:
                    assert found == self.world.by_type(within, kinds), (asked, kinds)

    def live_agrees(self) -> None:
        found = self.get("live")
        events = found.pop("events")
        assert parsed(found) == self.world.live()
        newest = self.world.listed()[:20]
        assert [shown_line(each)[0] for each in events] == [each[0] for each in newest]

    def lists_agree(self, zone: str) -> None:
        start, end = MONTH + timedelta(days=2, seconds=1), NOW - timedelta(days=3)
        first = midnight(start.date(), zone), midnight(datetime(2026, 3, 9).date(), zone)
        pages: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
            ("events", {"limit": 40}, {}),
            ("events", {"limit": 7, "event_type": ["view", "x"], **bounds(TimeRange(start, end))},
             {"start": start, "end": end, "kinds": ["view", "x"]}),
            ("events", {"user_id": 2}, {"person": 2}),
            ("events", {"metadata.plan": "pro"}, {"wanted": {"plan": "pro"}}),
            ("events", {"metadata.plan": "3", "event_type": "view"},
             {"wanted": {"plan": "3"}, "kinds": ["view"]}),
            ("events/date-range",
             {"start_date": "2026-03-03", "end_date": "2026-03-08", "tz": zone},
             {"start": first[0], "end": first[1]}),
            ("users/70000/events", {"limit": 3}, {"person": 70_000}),
        )  # fmt: skip
        for path, asked, wanted in pages:
            found = list(self.pages(path, asked))
            assert [each[0] for each in found] == sorted((each[0] for each in found), reverse=True)
            assert in_order(found) == self.world.listed(**wanted), (path, asked)

    def pages(self, path: str, asked: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
        cursor: dict[str, str] = {}
        while True:
            found = self.get(path, **asked, **cursor)
            yield from map(shown_line, found["items"])
            if found["next_cursor"] is None:
                return
            cursor = {"cursor": found["next_cursor"]}

    def exports_agree(self) -> None:
        answer = self.admin.call("GET", "/analytics/export")
        lines = [json.loads(each) for each in answer.get_data(as_text=True).splitlines()]
        assert in_order(map(shown_line, lines)) == self.world.listed()
        visitors = sum(isinstance(fact.person, str) for fact in self.world.raw())
        assert sum(each.get("actor", 0) < 0 for each in lines) == visitors
        query = {"format": "csv", "event_type": "view", "start": "2026-03-05"}
        answer = self.admin.call("GET", "/analytics/export", query_string=query)
        rows = csv.DictReader(io.StringIO(answer.get_data(as_text=True)))
        found = [
            shown_line(
                {
                    **row,
                    "metadata": json.loads(row["metadata"]),
                    "user_id": int(row["user_id"]) if row["user_id"] else None,
                }
            )
            for row in rows
        ]
        since = datetime(2026, 3, 5, tzinfo=UTC)
        assert in_order(found) == self.world.listed(start=since, kinds=["view"])

    def behaviour_agrees(self, zone: str) -> None:
        since = MONTH if self.world.dropped_before else FIRST
        raw, ever = (self.world.happenings(raw=each) for each in (True, False))
        all_agree(self.admin, raw, since, zone, ever=ever, now=self.world.now)
        if self.world.dropped_before:
            for path, asked in (
                ("paths", {"event_type": "view"}), ("properties", {}),
                ("breakdown", {"event_type": "view", "key": "plan"}),
                ("retention", {"event_type": "view"}),
            ):  # fmt: skip
                self.get(path, FIRST, start=FIRST.isoformat(), **asked)


def an_event(chance: random.Random, number: int) -> Sent:
    kind, metadata = chance.choice(KINDS), {}
    if chance.random() < 0.7:
        metadata["plan"] = chance.choice(PLANS)
    if kind == "purchase":
        metadata["price"] = chance.choice(PRICES)
    offset = chance.choice([0, -1, chance.randrange(900_000_000)])
    moment = moment_of(chance.randrange(DAYS), chance.randrange(96), offset)
    if chance.random() < 0.2:
        moment = recent(chance.choice([chance.randrange(-2400, 400), *EDGES[2:6]]))
    return Sent(number, kind, moment, chance.choice(PEOPLE), metadata)


def bounds(within: TimeRange) -> dict[str, str]:
    return {"start": within.start.isoformat(), "end": within.end.isoformat()}


def bounds_in_days(first: str, last: str) -> dict[str, str]:
    return {"start": first, "end": last}


def began(within: TimeRange, elapsed: timedelta) -> TimeRange:
    """Returns a range as far as it had come after so much time."""
    return TimeRange(within.start, min(within.start + elapsed, within.end))


def parsed(answer: Any) -> Any:
    """Returns the answer with its times as times."""
    if isinstance(answer, list):
        return [parsed(each) for each in answer]
    if not isinstance(answer, dict):
        return answer
    return {
        name: datetime.fromisoformat(each) if name in ("start", "end") else parsed(each)
        for name, each in answer.items()
    }


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
        services_in(app).ingest.admission.known.clear()
        yield


@pytest.fixture
def shared_app(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """Returns one app for all examples: making a database for each would take all the time.

    Three events are many there, and are deleted two by two.
    """
    monkeypatch.setattr(erasure, "MAX_EVENTS_AT_ONCE", 2)
    monkeypatch.setattr(sweeping, "SLICE_EVENTS", 2)
    monkeypatch.setattr(event_types, "SLICE_EVENTS", 5)
    for name in ("reports", "behaviour", "erasures"):
        monkeypatch.setattr(import_module(f"analytics_app.routes.{name}"), "datetime", Clock)
    # An answer may take as long as a busy machine needs: no history here is about time-outs.
    return make_app(
        secret_key=secrets.token_hex(32), max_types_listed=MOST_TYPES, report_timeout_ms=60_000
    )


def holds(app: Flask, examples: int, number: int | None = None) -> None:
    """Tries so many histories: those of the number, or without one always the same."""

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=number is None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(HISTORIES, st.sampled_from(ZONES))
    def agrees(steps: list[tuple[str, Any]], zone: str) -> None:
        note(f"steps = {steps!r}\nzone = {zone!r}")
        with emptied(app):
            run = Run(app)
            for name, given_ in steps:
                run.step(name, given_)
            run.check(zone)

    tried: Callable[[], None] = agrees if number is None else seed(number)(agrees)
    tried()


def test_every_report_equals_a_plain_recomputation(shared_app: Flask) -> None:
    if "EXACT_SECONDS" not in os.environ:
        holds(shared_app, EXAMPLES)
        return
    wanted = os.environ.get("EXACT_SEED")
    until = time.monotonic() + float(os.environ["EXACT_SECONDS"])
    while True:
        number = int(wanted) if wanted else secrets.randbelow(2**32)
        try:
            holds(shared_app, HISTORIES_A_SEED, number)
        except BaseException:
            print(f"\nAgain: make exact SEED={number}", flush=True)
            raise
        print(f"seed {number}: {HISTORIES_A_SEED} histories agree", flush=True)
        if wanted or time.monotonic() > until:
            return
