"""Erases an event type: its events go, and every count of them, and its name is free again.

While it is `erasing` no event of it is taken, and no read sees those there are. Few events
are deleted at once, many by maintenance, slice by slice.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event as Flag
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Engine,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from analytics_app import audit, dialects, engines
from analytics_app.behaviour import dirt
from analytics_app.behaviour.models import SealedColumn
from analytics_app.erased import VISIBLE
from analytics_app.intake import FROM_USERS_SERVICE
from analytics_app.models import Count, DayCount, Event, EventType, Presence, Tombstone
from analytics_app.zones import QUARTERS_A_DAY, quarter_of, quarter_start
from chassis.database import UtcDateTime, delete_in_slices, writing
from chassis.errors import NotFound
from chassis.telemetry import get_logger

SLICE_EVENTS = 2_000
SLICES_AT_ONCE = 3
KEYS_AT_ONCE = 500
DAYS_AT_ONCE = 30
PAUSE_SECONDS = 0.02
HALF = 48
LOW = (1 << HALF) - 1
log = get_logger(__name__)

Seen = dict[tuple[int, int], int]


@dataclass(frozen=True, slots=True)
class Erased:
    """How many events were deleted so far, and whether the type is gone."""

    events: int
    done: bool


def erase(db: SQLAlchemy, name: str) -> Erased:
    """Takes the type out of every report, and deletes its events if they are few.

    Raises NotFound for a type that there is not.
    """
    events, done = 0, False
    db.session.rollback()  # embedded in memory, there is one connection for all
    with engines.for_erasures(db).connect() as connection:
        begin(connection, name)
        hide(connection, name)
        for _ in range(SLICES_AT_ONCE):
            if done:
                break
            gone, done = next_slice(connection, name)
            events += gone
    return Erased(events, done)


def begin(connection: Connection, name: str) -> None:
    """Commits that the type is being erased; returns once all writers see it."""
    dialect = dialects.of(connection.engine)
    with writing(connection):
        marked = update(EventType).where(EventType.event_type == name).values(erasing=True)
        if not connection.execute(marked).rowcount:
            raise NotFound("There is no such event type.")
        audit.record(connection, "event_type_erased", event_type=name)
        older = dialect.mark(connection)
    dialect.wait_out(connection, older)


def hide(connection: Connection, name: str) -> None:
    """Deletes the type's counts and sealed columns, and has its days sealed anew."""
    uncount(connection, name, Count, Count.quarter, QUARTERS_A_DAY)
    uncount(connection, name, DayCount, DayCount.day, 1)

    def run(statement: Delete) -> int:
        with writing(connection):
            dialects.of(connection.engine).unhurried(connection)
            return connection.execute(statement).rowcount

    delete_in_slices(run, SealedColumn, SealedColumn.event_type == name)


def uncount(connection: Connection, name: str, table: Any, column: Any, a_day: int) -> None:
    """Deletes the type's rows of a table of counts, some days at a time."""
    with connection.begin():
        first, last = connection.execute(select(func.min(column), func.max(column))).one()
    if first is None:
        return
    step = DAYS_AT_ONCE * a_day
    for since in range(first, last + 1, step):
        with writing(connection):
            dialects.of(connection.engine).unhurried(connection)
            within = table.event_type == name, column >= since, column < since + step
            gone = connection.scalars(delete(table).where(*within).returning(column)).all()
            if table is Count:
                dirt.mark(connection, {number // QUARTERS_A_DAY for number in gone})


def sweep(engine: Engine, stop: Flag) -> None:
    """Deletes what is left of types that are being erased; pauses after each slice."""
    hidden: set[str] = set()
    with engine.connect() as connection:
        while (name := erasing(connection)) and not stop.is_set():
            if name not in hidden:
                hide(connection, name)
                hidden.add(name)
            begun = time.monotonic()
            next_slice(connection, name)
            stop.wait(max(PAUSE_SECONDS, time.monotonic() - begun))


def erasing(connection: Connection) -> str | None:
    with connection.begin():
        chosen = select(EventType.event_type).where(EventType.erasing)
        return connection.scalar(chosen.order_by(EventType.event_type).limit(1))


def next_slice(connection: Connection, name: str) -> tuple[int, bool]:
    """Deletes a slice of the type's events; returns how many, and whether the type is gone.

    Whoever comes while another deletes leaves it to that one.
    """
    with writing(connection):
        dialects.of(connection.engine).unhurried(connection)
        held = select(EventType.event_type).where(EventType.event_type == name, EventType.erasing)
        if connection.scalar(held.with_for_update(skip_locked=True)) is None:
            return 0, False
        gone = delete_slice(connection, name)
        leave(connection, gone)
        done = len(gone) < SLICE_EVENTS
        if done:
            free(connection, name)
        return len(gone), done


def delete_slice(connection: Connection, name: str) -> Sequence[Any]:
    """Deletes the oldest events of the type; returns whose they were and when."""
    place = (Event.created_at, Event.event_id)
    where: list[ColumnElement[bool]] = [Event.event_type == name]
    ends = select(*place).where(*where).order_by(*place).offset(SLICE_EVENTS - 1).limit(1)
    if last := connection.execute(ends).one_or_none():
        end = (literal(last[n], column.type) for n, column in enumerate(place))
        where += [Event.created_at <= last[0], tuple_(*place) <= tuple_(*end)]
    gone = delete(Event).where(*where).returning(Event.actor, Event.created_at)
    return connection.execute(gone).all()


def leave(connection: Connection, gone: Sequence[Any]) -> None:
    """Takes quarters out of presence in which the actors did nothing else.

    Ingest writes presence whether or not it is there while a type is being erased, so the
    rows' locks keep it waiting; what it has stored before is seen under them.
    """
    touched: Seen = defaultdict(int)
    for actor, created_at in gone:
        day, quarter = divmod(quarter_of(created_at), QUARTERS_A_DAY)
        if actor:
            touched[day, actor] |= 1 << quarter
    keys = sorted(touched)
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = keys[start : start + KEYS_AT_ONCE]
        mine = tuple_(Presence.day, Presence.actor).in_(some)
        locked = select(Presence.day, Presence.actor, Presence.low, Presence.high).where(mine)
        locked = locked.order_by(Presence.day, Presence.actor).with_for_update()
        kept = {
            (row.day, row.actor): row.low | row.high << HALF for row in connection.execute(locked)
        }
        remaining = present(connection, some)
        connection.execute(delete(Presence).where(mine))
        for key in kept:
            kept[key] &= ~touched[key] | remaining[key]
        rows = list(rows_of(kept))
        if rows:
            connection.execute(insert(Presence), rows)


def rows_of(seen: Mapping[tuple[int, int], int]) -> Iterator[dict[str, int]]:
    for (day, actor), bits in seen.items():
        if bits:
            yield {"day": day, "actor": actor, "low": bits & LOW, "high": bits >> HALF}


def present(connection: Connection, keys: Sequence[tuple[int, int]]) -> Seen:
    """Returns the quarters of which there are visible events, of these days and actors."""
    found: Seen = defaultdict(int)
    quarter = dialects.of(connection.engine).quarter(Event.created_at)
    for day in sorted({day for day, _ in keys}):
        first = day * QUARTERS_A_DAY
        chosen = select(Event.actor, quarter).where(
            Event.actor.in_([actor for each, actor in keys if each == day]),
            Event.created_at >= quarter_start(first),
            Event.created_at < quarter_start(first + QUARTERS_A_DAY),
            *VISIBLE,
        )
        for actor, number in connection.execute(chosen.distinct()):
            found[day, actor] |= 1 << number - first
    return found


def free(connection: Connection, name: str) -> None:
    """Takes the name off the register; those of the users service always stay on it.

    An erasure of a person that was under way at the start may have counted since.
    """
    for table in (Count, DayCount):
        connection.execute(delete(table).where(table.event_type == name))
    mine = EventType.event_type == name
    if name in FROM_USERS_SERVICE:
        connection.execute(update(EventType).where(mine).values(erasing=False))
    else:
        connection.execute(delete(EventType).where(mine))
    log.info("event type erased", event_type=name)


def free_unused(engine: Engine) -> None:
    """Frees names that erased accounts made and nobody uses; of others it forgets who did."""
    erased = EventType.created_by.in_(select(Tombstone.actor))
    ended = select(Tombstone.actor).where(Tombstone.erased_before > datetime.now(UTC))
    is_used = or_(
        exists().where(Event.event_type == EventType.event_type),
        exists().where(DayCount.event_type == EventType.event_type),
    )
    with engine.connect() as connection:
        with connection.begin():
            dialects.of(engine).unhurried(connection)
            unused = select(EventType.__table__).where(erased, ~is_used, ~EventType.erasing)
            rows = connection.execute(unused).mappings().all()
        for row in rows:
            free_if_unused(connection, dict(row))
        with writing(connection):
            forgotten = update(EventType).where(EventType.created_by.in_(ended))
            connection.execute(forgotten.values(created_by=0))


def free_if_unused(connection: Connection, row: dict[str, Any]) -> None:
    """Frees the name; it is registered again if an event was stored in the meantime."""
    dialect = dialects.of(connection.engine)
    with writing(connection):
        connection.execute(delete(EventType).where(EventType.event_type == row["event_type"]))
        older = dialect.mark(connection)
    dialect.wait_out(connection, older)
    with writing(connection):
        used = select(exists().where(Event.event_type == row["event_type"]))
        if connection.scalar(used):
            again = dialect.insert(EventType.__table__).values(row)
            connection.execute(again.on_conflict_do_nothing())


def adopt(engine: Engine) -> None:
    """Registers types that have counts and no row: an older release knows no register."""
    registered = exists().where(EventType.event_type == DayCount.event_type)
    found = select(DayCount.event_type, literal(datetime.now(UTC), UtcDateTime), literal(False))
    table = EventType.__table__
    adding = dialects.of(engine).insert(table)
    columns = [table.c.event_type, table.c.created_at, table.c.erasing]
    adopted = adding.from_select(columns, found.where(~registered).distinct())
    with engine.connect() as connection, writing(connection):
        dialects.of(engine).unhurried(connection)
        connection.execute(adopted.on_conflict_do_nothing())
