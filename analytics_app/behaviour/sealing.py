"""Seals closed days: claim, wait out older writers, read, write; safe to run twice at once.

A day is claimed by a new generation and without its dirty mark. Whatever changes its events
from then on marks it again, so columns read after that are either exact or known to be not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, Delete, delete, func, insert, select, update

from analytics_app import dialects
from analytics_app.behaviour import seals
from analytics_app.behaviour.columns import Cell, sealed
from analytics_app.behaviour.models import DirtyDay, SealedColumn, SealedDay
from analytics_app.behaviour.packing import DAY_US
from analytics_app.behaviour.raw import Reader
from analytics_app.deadlines import Deadline
from analytics_app.models import Count
from analytics_app.readers import open_snapshot
from analytics_app.zones import QUARTERS_A_DAY, microseconds
from chassis.database import delete_in_slices, transaction

GRACE = timedelta(hours=1)
AT_ONCE = 8
LONGEST_DAY_SECONDS = 600.0


def seal_due(db: SQLAlchemy, now: datetime) -> Iterator[int]:
    """Seals every closed day that is not, the oldest first; yields each day when it is done."""
    forget_dropped(db)
    days = due(db, now)
    for start in range(0, len(days), AT_ONCE):
        yield from seal(db, days[start : start + AT_ONCE])


def due(db: SQLAlchemy, now: datetime) -> list[int]:
    """Returns the closed days that are dirty, or newer than all that are sealed."""
    today = microseconds(now - GRACE) // DAY_US
    newest = db.session.scalar(select(func.max(SealedDay.day)))
    first = 0 if newest is None else newest + 1
    day = (Count.quarter.op("/")(QUARTERS_A_DAY)).label("day")
    counted = select(day).where(
        Count.quarter >= first * QUARTERS_A_DAY, Count.quarter < today * QUARTERS_A_DAY
    )
    changed = select(DirtyDay.day).where(DirtyDay.day < today)
    half_done = select(SealedDay.day).where(~SealedDay.ready)
    found = {
        int(each)
        for chosen in (counted.distinct(), changed, half_done)
        for each in db.session.scalars(chosen)
    }
    oldest = seals.first_kept(db.session.connection())
    db.session.rollback()
    return sorted(each for each in found if each >= oldest)


def seal(db: SQLAlchemy, days: Sequence[int]) -> Iterator[int]:
    """Seals the days anew; yields those that are sealed now."""
    generations = claim(db, days)
    for day, generation in generations.items():
        if finish(db, day, generation, columns(db, day)):
            yield day


def claim(db: SQLAlchemy, days: Sequence[int]) -> dict[int, int]:
    """Takes the days' dirty marks off and returns the generations that may seal them."""
    dialect = dialects.of(db.engine)
    table = SealedDay.__table__
    adding = dialect.insert(table)
    claimed = adding.on_conflict_do_update(
        index_elements=["day"], set_={"generation": table.c.generation + 1, "ready": False}
    )
    with transaction(db.session):
        connection = db.session.connection()
        connection.execute(
            claimed, [{"day": day, "generation": 1, "ready": False} for day in sorted(days)]
        )
        connection.execute(delete(DirtyDay).where(DirtyDay.day.in_(days)))
        chosen = select(SealedDay.day, SealedDay.generation).where(SealedDay.day.in_(days))
        generations = dict(connection.execute(chosen).tuples().all())
        older = dialect.mark(connection)
    dialect.wait_out(db.session, older)
    return dict(sorted(generations.items()))


def columns(db: SQLAlchemy, day: int) -> set[Cell]:
    db.session.rollback()
    with open_snapshot(db.engine) as connection:
        return made(connection, day)


def finish(db: SQLAlchemy, day: int, generation: int, cells: Iterable[Cell]) -> bool:
    """Replaces the day's columns, unless somebody claimed or dropped it since."""
    latest = update(SealedDay).where(SealedDay.day == day, SealedDay.generation == generation)
    rows = [
        {"event_type": event_type, "name": name, "day": day, "data": data}
        for event_type, name, data in sorted(cells)
    ]
    with transaction(db.session):
        connection = db.session.connection()
        if not connection.execute(latest.values(ready=True)).rowcount:
            return False
        connection.execute(delete(SealedColumn).where(SealedColumn.day == day))
        if rows:
            connection.execute(insert(SealedColumn), rows)
    return True


def forget_dropped(db: SQLAlchemy) -> None:
    """Deletes what is kept of days whose events retention has dropped."""
    first = seals.first_kept(db.session.connection())

    def run(statement: Delete) -> int:
        with transaction(db.session):
            connection = db.session.connection()
            dialects.of(db.engine).unhurried(connection)
            return connection.execute(statement).rowcount

    for table in (SealedDay, SealedColumn, DirtyDay):
        delete_in_slices(run, table, table.day < first)


def wrong_days(db: SQLAlchemy, days: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yields each believable day, and how many of its columns are not what `events` says."""
    db.session.rollback()
    with open_snapshot(db.engine) as connection:
        believed = seals.believable(connection)
        for day in days:
            if day in believed:
                yield day, len(kept(connection, day) ^ made(connection, day))


def kept(connection: Connection, day: int) -> set[Cell]:
    chosen = select(SealedColumn.event_type, SealedColumn.name, SealedColumn.data)
    rows = connection.execute(chosen.where(SealedColumn.day == day))
    return {(event_type, name, bytes(data)) for event_type, name, data in rows}


def made(connection: Connection, day: int) -> set[Cell]:
    """Returns the day's columns as its raw events are now."""
    return set(sealed(Reader(connection, Deadline(LONGEST_DAY_SECONDS)), day))
