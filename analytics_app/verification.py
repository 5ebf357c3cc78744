"""Compares every rollup with the raw events in one snapshot, and corrects what differs.

Each event and its counts are committed together, so a snapshot shows both or neither:
what differs in it is an error, however many writers are at work. A correction adds the
difference, and so commutes with theirs: nobody is kept waiting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, delete, func, insert, select

from analytics_app import counting, dialects
from analytics_app.erased import unerased
from analytics_app.models import Bookkeeping, Count, DayCount, Event, Presence
from analytics_app.zones import (
    QUARTERS_A_DAY,
    day_number,
    first_quarter,
    quarter_of,
    quarter_start,
)
from chassis.database import transaction

HALF = 48
LOW = (1 << HALF) - 1

Key = tuple[int, str]


@dataclass(slots=True)
class Differences:
    """What the rollups of a UTC day lack (below zero: have too much), and of its local days.

    `presence` holds, for each actor that differs, the bits as they should be.
    """

    day: int
    counts: Counter[Key] = field(default_factory=Counter)
    days: Counter[Key] = field(default_factory=Counter)
    presence: dict[int, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.counts or self.days or self.presence)

    def __len__(self) -> int:
        return len(self.counts) + len(self.days) + len(self.presence)


def days_to_check(db: SQLAlchemy) -> range:
    """Returns the UTC days of which raw events are kept, from the first to the last there are."""
    dropped, first, last = db.session.execute(
        select(
            select(Bookkeeping.dropped_before).scalar_subquery(),
            func.min(Event.created_at),
            func.max(Event.created_at),
        )
    ).one()
    counted = db.session.execute(select(func.min(Count.quarter), func.max(Count.quarter))).one()
    db.session.rollback()
    known = [quarter_of(each) for each in (first, last) if each] + [
        each for each in counted if each is not None
    ]
    if not known:
        return range(0)
    start = max(min(known), quarter_of(dropped) if dropped else 0) // QUARTERS_A_DAY
    return range(start, max(known) // QUARTERS_A_DAY + 1)


def verify(db: SQLAlchemy, days: range) -> Iterator[Differences]:
    """Yields the differences of each UTC day (empty where there are none), in one snapshot."""
    with dialects.of(db.engine).snapshot_beside(db.session) as connection:
        for day in days:
            yield differences(connection, day)
    db.session.rollback()


def correct(db: SQLAlchemy, day: int) -> int:
    """Makes the rollups of a UTC day what the raw events say; returns how many differed.

    A writer that looked at presence before bits were taken away may have left its own
    out: so it looks again, once all such writers are through, until nothing differs.
    """
    corrected = 0
    while True:
        with transaction(db.session):
            with dialects.of(db.engine).snapshot_beside(db.session) as connection:
                found = differences(connection, day)
            apply(db.session.connection(), found)
            older = dialects.of(db.engine).mark(db.session.connection())
        if not found:
            return corrected
        corrected += len(found)
        dialects.of(db.engine).wait_out(db.session, older)


def differences(connection: Connection, day: int) -> Differences:
    """Returns what a UTC day's rollups lack, and the days of the reporting zone it touches."""
    first, last = day * QUARTERS_A_DAY, (day + 1) * QUARTERS_A_DAY
    return Differences(
        day,
        lacking(raw_counts(connection, first, last), kept_counts(connection, first, last)),
        lacking_days(connection, first, last),
        presence_differences(connection, day),
    )


def lacking(wanted: Counter[Key], kept: Counter[Key]) -> Counter[Key]:
    found = Counter(wanted)
    found.subtract(kept)
    return Counter({key: n for key, n in found.items() if n})


def raw_counts(connection: Connection, first: int, last: int) -> Counter[Key]:
    quarter = dialects.of(connection.engine).quarter(Event.created_at).label("quarter")
    chosen = select(quarter, Event.event_type, func.count()).where(
        Event.created_at >= quarter_start(first),
        Event.created_at < quarter_start(last),
        *unerased(connection),
    )
    rows = connection.execute(chosen.group_by(quarter, Event.event_type))
    return Counter({(number, kind): n for number, kind, n in rows})


def kept_counts(connection: Connection, first: int, last: int) -> Counter[Key]:
    chosen = select(Count.quarter, Count.event_type, func.sum(Count.count)).where(
        Count.quarter >= first, Count.quarter < last
    )
    rows = connection.execute(chosen.group_by(Count.quarter, Count.event_type))
    return Counter({(number, kind): int(n) for number, kind, n in rows})


def lacking_days(connection: Connection, first: int, last: int) -> Counter[Key]:
    """Compares the local days that begin on the UTC day with the sums of their quarters."""
    kept_in, ready = connection.execute(
        select(Bookkeeping.reporting_zone, Bookkeeping.days_ready)
    ).one()
    if not ready:  # they are being rebuilt, and nobody reads them
        return Counter()
    zone = ZoneInfo(kept_in)
    earliest = day_number(first, zone)
    begun = [
        day for day in range(earliest, earliest + 3) if first <= first_quarter(day, zone) < last
    ]
    wanted: Counter[Key] = Counter()
    kept: Counter[Key] = Counter()
    for day in begun:
        span = first_quarter(day, zone), first_quarter(day + 1, zone)
        for (_, kind), n in kept_counts(connection, *span).items():
            wanted[day, kind] += n
    if begun:
        rows = connection.execute(
            select(DayCount.day, DayCount.event_type, func.sum(DayCount.count))
            .where(DayCount.day.in_(begun))
            .group_by(DayCount.day, DayCount.event_type)
        )
        kept.update({(day, kind): int(n) for day, kind, n in rows})
    return lacking(wanted, kept)


def presence_differences(connection: Connection, day: int) -> dict[int, int]:
    """Returns the bits each actor should have on a UTC day, where they are others."""
    wanted = raw_presence(connection, day)
    rows = connection.execute(
        select(Presence.actor, Presence.low, Presence.high).where(Presence.day == day)
    )
    kept = {actor: low | high << HALF for actor, low, high in rows}
    return {
        actor: wanted[actor]
        for actor in wanted.keys() | kept.keys()
        if wanted[actor] != kept.get(actor, 0)
    }


def raw_presence(connection: Connection, day: int) -> Counter[int]:
    first, last = day * QUARTERS_A_DAY, (day + 1) * QUARTERS_A_DAY
    quarter = dialects.of(connection.engine).quarter(Event.created_at)
    chosen = select(Event.actor, quarter).where(
        Event.created_at >= quarter_start(first),
        Event.created_at < quarter_start(last),
        Event.actor != 0,
        *unerased(connection),
    )
    bits: Counter[int] = Counter()
    for actor, number in connection.execute(chosen.distinct()):
        bits[actor] |= 1 << (number - first)
    return bits


def apply(connection: Connection, found: Differences) -> None:
    counting.add(connection, found.counts)
    counting.merge(connection, DayCount.__table__, "day", found.days)
    if found.presence:
        replace_presence(connection, found.day, found.presence)


def replace_presence(connection: Connection, day: int, wanted: dict[int, int]) -> None:
    dialects.of(connection.engine).lock_table(connection, Presence.__tablename__)
    actors = sorted(wanted)
    for start in range(0, len(actors), 500):
        some = actors[start : start + 500]
        gone = delete(Presence).where(Presence.day == day, Presence.actor.in_(some))
        connection.execute(gone)
    rows = [
        {"day": day, "actor": actor, "low": wanted[actor] & LOW, "high": wanted[actor] >> HALF}
        for actor in actors
        if wanted[actor]
    ]
    if rows:
        connection.execute(insert(Presence), rows)
