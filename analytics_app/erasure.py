"""Erasure: a person's events and every count of them go, and late deliveries stay out.

Few events are deleted at once. Many are taken out of all counts and out of sight at once,
and deleted by maintenance, slice by slice, so that nobody else has to wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    ColumnElement,
    Connection,
    delete,
    func,
    insert,
    select,
    update,
)

from analytics_app import audit, counting, dialects, engines
from analytics_app.behaviour import dirt
from analytics_app.erased import ERASED, IS_OPEN, VISIBLE
from analytics_app.models import FOR_EVER, Erasure, Event, Presence, Tombstone
from analytics_app.zones import QUARTERS_A_DAY
from chassis.database import writing

MAX_EVENTS_AT_ONCE = 5_000
HALF = 48
LOW = (1 << HALF) - 1


@dataclass(frozen=True, slots=True)
class Erased:
    """How many events went; `erasure` is the number of the one that still deletes them."""

    events: int
    erasure: int | None = None


def erase(db: SQLAlchemy, actor: int, now: datetime, *, for_ever: bool) -> Erased:
    """Erases all events of an actor: none is in any answer that begins after this returned.

    First the tombstone is committed and statements that began before it are waited out;
    what arrives from then on, dated before (or ever), is refused. So what there is can only
    become less, and a count tells whether a tally of it still holds. Counts of events that
    retention had dropped before stay, as nobody's: nothing tells any more whose they were.
    """
    db.session.rollback()  # embedded in memory, there is one connection for all
    with engines.for_erasures(db).connect() as connection:
        before = bury(connection, actor, now, for_ever=for_ever)
        while (found := attempt(connection, actor, before)) is None:
            pass
        if found.events:
            counting.drop_zeros_of_tally(connection)
        return found


def bury(connection: Connection, actor: int, now: datetime, *, for_ever: bool) -> datetime:
    """Commits the tombstone; returns from when on events are taken, once all writers see it."""
    dialect = dialects.of(connection.engine)
    with writing(connection):
        before = set_tombstone(connection, actor, FOR_EVER if for_ever else now)
        account_id = actor if actor > 0 else None  # below zero it is a visitor
        audit.record(connection, "events_erased", account_id, for_ever=for_ever)
        older = dialect.mark(connection)
    dialect.wait_out(connection, older)
    return before


def set_tombstone(connection: Connection, actor: int, moment: datetime) -> datetime:
    """Sets the tombstone, or moves it forward, to the moment; returns where it stands.

    An event may be dated a little ahead: the tombstone is set behind the newest there is.
    """
    newest = connection.scalar(select(func.max(Event.created_at)).where(Event.actor == actor))
    if newest is not None and newest >= moment:
        moment = newest + timedelta(microseconds=1)
    table = Tombstone.__table__
    adding = dialects.of(connection.engine).insert(table).values(actor=actor, erased_before=moment)
    moved = adding.on_conflict_do_update(
        index_elements=["actor"],
        set_={"erased_before": adding.excluded.erased_before},
        where=table.c.erased_before < adding.excluded.erased_before,
    )
    connection.execute(moved)
    stands = select(Tombstone.erased_before).where(Tombstone.actor == actor)
    return connection.scalars(stands).one()


def attempt(connection: Connection, actor: int, before: datetime) -> Erased | None:
    """Tallies, then takes out what was tallied; None if it became less in between."""
    dialect = dialects.of(connection.engine)
    mine = events_of(actor, before)
    quarter = dialect.quarter(Event.created_at).label("quarter")
    found = select(quarter, Event.event_type, func.count()).where(*mine)
    with connection.begin():
        dialect.unhurried(connection)
        total = counting.tally(connection, found.group_by(quarter, Event.event_type))
    with writing(connection):
        dialect.unhurried(connection)
        lock(connection, actor)
        if connection.scalar(select(func.count()).select_from(Event).where(*mine)) != total:
            return None
        return take_out(connection, actor, before, total)


def events_of(actor: int, before: datetime) -> tuple[ColumnElement[bool], ...]:
    """Returns what holds for the actor's events from before that are not being erased yet."""
    return Event.actor == actor, Event.created_at < before, *VISIBLE


def lock(connection: Connection, actor: int) -> None:
    """Keeps other erasures of the actor waiting until the transaction ends."""
    connection.execute(
        select(Tombstone.actor).where(Tombstone.actor == actor).with_for_update()
    ).one()


def take_out(connection: Connection, actor: int, before: datetime, total: int) -> Erased:
    """Takes the tallied events out of everything but `events`; deletes them if they are few."""
    counting.subtract_tally(connection)
    number = open_erasure(connection, actor)
    few = total <= MAX_EVENTS_AT_ONCE
    if few:
        connection.execute(delete(Event).where(*events_of(actor, before)))
    elif number is None:
        number = begin(connection, actor, before)
    if number is not None:
        further(connection, number, before, total, deleted=few)
    # From here on others may have to wait, so this comes last, in the order that ingest has.
    dirt.mark(connection, counting.utc_days_of_tally(connection))
    leave(connection, actor, before)
    return Erased(total, number)


def open_erasure(connection: Connection, actor: int) -> int | None:
    """Returns the number of the actor's open erasure, held until the transaction ends."""
    chosen = select(Erasure.id).where(Erasure.actor == actor, IS_OPEN)
    return connection.scalar(chosen.with_for_update())


def begin(connection: Connection, actor: int, before: datetime) -> int:
    """Opens an erasure, which keeps the events out of sight; returns its number."""
    row = {"actor": actor, "before": before, "events": 0, "erased": 0}
    opened = insert(Erasure).values(**row, requested_at=datetime.now(UTC)).returning(Erasure.id)
    return int(connection.execute(opened).scalar_one())


def further(
    connection: Connection, number: int, before: datetime, total: int, *, deleted: bool
) -> None:
    """Adds events to an open erasure, which begins to hide those that aren't deleted."""
    news = {"erased": Erasure.erased + total} if deleted else {"before": before}
    changes: dict[str, Any] = {"events": Erasure.events + total, **news}
    connection.execute(update(Erasure).where(Erasure.id == number).values(changes))


def leave(connection: Connection, actor: int, before: datetime) -> None:
    """Deletes the actor's presence, but for what is dated later; its key begins with the day."""
    first, last = connection.execute(select(func.min(Presence.day), func.max(Presence.day))).one()
    if first is None:
        return
    days = range(first, last + 1)
    connection.execute(delete(Presence).where(Presence.actor == actor, Presence.day.in_(days)))
    arrive(connection, actor, bits_since(connection, actor, before))


def bits_since(connection: Connection, actor: int, moment: datetime) -> Mapping[int, int]:
    """Returns the quarters of each day with events of the actor from the moment on."""
    quarter = dialects.of(connection.engine).quarter(Event.created_at)
    later = select(quarter).where(Event.actor == actor, Event.created_at >= moment, ~ERASED)
    bits: Counter[int] = Counter()
    for number in connection.scalars(later.distinct()):
        bits[number // QUARTERS_A_DAY] |= 1 << number % QUARTERS_A_DAY
    return bits


def arrive(connection: Connection, actor: int, bits: Mapping[int, int]) -> None:
    """Marks the actor's presence by day, beside what is marked already."""
    table = Presence.__table__
    adding = dialects.of(connection.engine).insert(table)
    changed = adding.on_conflict_do_update(
        index_elements=["day", "actor"],
        set_={
            "low": table.c.low.op("|")(adding.excluded.low),
            "high": table.c.high.op("|")(adding.excluded.high),
        },
    )
    rows = [
        {"day": day, "actor": actor, "low": seen & LOW, "high": seen >> HALF}
        for day, seen in sorted(bits.items())
    ]
    if rows:
        connection.execute(changed, rows)
