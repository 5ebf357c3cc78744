"""SQLite: the same in one transaction that owns the only write lock."""

from __future__ import annotations

import contextlib
import math
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from pydantic_core import from_json, to_json
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Text,
    case,
    cast,
    delete,
    exists,
    func,
    select,
    tuple_,
)
from sqlalchemy.dialects.sqlite import insert as insert
from sqlalchemy.orm import scoped_session

from analytics_app.dialects.partitions import month_of
from analytics_app.dialects.rows import PartitionLimits, Row, Stored
from analytics_app.models import Event
from analytics_app.zones import QUARTERS_A_DAY, day_number, quarter_of
from chassis.database import transaction

NEEDS_A_TYPE = False
SLOTS = 1
STEPS_A_LOOK = 20_000  # of SQLite's machine: some milliseconds at most
KEPT_SLOT = 0
SLICE_EVENTS = 2_000
NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[Ee][+-]?\d+)?", re.ASCII)  # JSON's

INSERT = """
INSERT INTO events (actor, created_at, event_id, event_type, user_id, metadata)
VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
REGISTERED = "SELECT 1 FROM event_types WHERE event_type = ? AND NOT erasing"
COUNT = """
INSERT INTO counts (quarter, event_type, slot, count) VALUES (?, ?, ?, ?)
ON CONFLICT (quarter, event_type, slot) DO UPDATE SET count = count + excluded.count
"""
COUNT_DAY = """
INSERT INTO counts_day (day, event_type, slot, count) VALUES (?, ?, ?, ?)
ON CONFLICT (day, event_type, slot) DO UPDATE SET count = count + excluded.count
"""
MARK = """
INSERT INTO presence (day, actor, low, high) VALUES (?, ?, ?, ?)
ON CONFLICT (day, actor) DO UPDATE SET low = low | excluded.low, high = high | excluded.high
WHERE (low | excluded.low) <> low OR (high | excluded.high) <> high
"""
LATE = """
INSERT INTO dirty_days (day) SELECT ? WHERE ? <= (SELECT max(day) FROM sealed_days)
ON CONFLICT DO NOTHING
"""


def open_for_ingest(engine: Engine, _deadline: float, timeout: float) -> Any:
    """Opens a connection of its own; in memory, the only one there is."""
    connection = engine.raw_connection()
    connection.cursor().execute(f"PRAGMA busy_timeout = {int(timeout * 1000)}")
    return connection


def close(connection: Any) -> None:
    """Gives the connection back, whatever state it is in."""
    if connection is not None:
        connection.close()


def has_ended(_connection: Any) -> bool:
    """Whether the other side has ended the connection: there is none."""
    return False


def is_outage(error: BaseException) -> bool:
    """Whether the error says that the database is locked for too long or can't be read."""
    return isinstance(error, sqlite3.OperationalError)


def kept_zone(connection: Any, _deadline: float) -> str:
    """Returns the zone that counts_day is kept in."""
    cursor = connection.cursor()
    zone: str = cursor.execute("SELECT reporting_zone FROM bookkeeping").fetchone()[0]
    return zone


def store(
    connection: Any,
    rows: Sequence[Row],
    zone: str,
    slot: int,
    _numbered: bool,
    _limits: PartitionLimits,
    _deadline: float,
) -> Stored:
    """Stores and counts the rows in one transaction, committed when it returns.

    The rows must be without repeats; `zone` is the one counts_day is kept in: if it is
    another by now, all rows come back as refused.
    """
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    try:
        outcome = stored(cursor, rows, zone, slot)
        cursor.execute("COMMIT")
    except BaseException:
        cursor.execute("ROLLBACK")
        raise
    return outcome


def stored(cursor: Any, rows: Sequence[Row], zone: str, slot: int) -> Stored:
    known, may_enter = registered(cursor, rows), door(cursor, rows, zone)
    refused, ids, claimed = [], {}, []
    for position, row in enumerate(rows):
        if row.event_type in known and may_enter(row) and claim(cursor, row):
            ids[position] = cursor.lastrowid
            claimed.append(row)
        else:
            refused.append(position)
    count(cursor, claimed, ZoneInfo(zone), slot)
    mark_presence(cursor, claimed)
    mark_late(cursor, claimed)
    return Stored(ids, refused, [n for n in refused if rows[n].event_type not in known])


def registered(cursor: Any, rows: Sequence[Row]) -> set[str]:
    """Returns those of the rows' event types that are registered."""
    types = {row.event_type for row in rows}
    return {each for each in types if cursor.execute(REGISTERED, (each,)).fetchone()}


def door(cursor: Any, rows: Sequence[Row], zone: str) -> Any:
    """Returns whether a row may come in, by the zone, retention and tombstones of now."""
    kept_zone, dropped = cursor.execute(
        "SELECT reporting_zone, dropped_before FROM bookkeeping"
    ).fetchone()
    actors = {row.actor for row in rows}
    erased = {actor: found for actor in actors if (found := tombstone(cursor, actor))}

    def may_enter(row: Row) -> bool:
        moment = written(row.created_at)
        return moment >= (dropped or "") and moment >= erased.get(row.actor, "")

    return may_enter if kept_zone == zone else lambda _row: False


def tombstone(cursor: Any, actor: int) -> str | None:
    found = cursor.execute("SELECT erased_before FROM tombstones WHERE actor = ?", (actor,))
    return next((moment for (moment,) in found), None)


def written(moment: datetime) -> str:
    """Returns the moment as SQLAlchemy writes it, so that text compares as time does."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def claim(cursor: Any, row: Row) -> bool:
    event_id = row.event_id.replace("-", "")
    cursor.execute(INSERT, (row.actor, written(row.created_at), event_id, *row[3:]))
    return bool(cursor.rowcount == 1)


def count(cursor: Any, rows: Iterable[Row], zone: ZoneInfo, slot: int) -> None:
    quarters = Counter((quarter_of(row.created_at), row.event_type) for row in rows)
    days: Counter[tuple[int, str]] = Counter()
    for (quarter, event_type), n in quarters.items():
        days[day_number(quarter, zone), event_type] += n
    cursor.executemany(COUNT, [(*key, slot, n) for key, n in quarters.items()])
    cursor.executemany(COUNT_DAY, [(*key, slot, n) for key, n in days.items()])


def mark_late(cursor: Any, rows: Iterable[Row]) -> None:
    """Marks days that may be sealed already, so that they are read from `events` again."""
    days = {quarter_of(row.created_at) // QUARTERS_A_DAY for row in rows}
    cursor.executemany(LATE, [(day, day) for day in days])


def mark_presence(cursor: Any, rows: Iterable[Row]) -> None:
    bits: Counter[tuple[int, int]] = Counter()
    for row in rows:
        day, quarter = divmod(quarter_of(row.created_at), QUARTERS_A_DAY)
        if row.actor:
            bits[day, row.actor] |= 1 << quarter
    lower = (1 << 48) - 1
    cursor.executemany(
        MARK, [(day, actor, seen & lower, seen >> 48) for (day, actor), seen in bits.items()]
    )


SNAPSHOT: dict[str, Any] = {}


def as_of(_connection: Connection) -> datetime:
    """Returns up to when an answer is complete: an embedded database has no replica."""
    return datetime.now(UTC)


def follows(_connection: Connection) -> bool:
    """Whether a replica receives what its primary writes: an embedded database has none."""
    return True


def minute(moment: ColumnElement[datetime]) -> ColumnElement[Any]:
    """Returns SQL for the start of the moment's minute, as seconds since 1970."""
    return whole_seconds(moment) // 60 * 60


def has_metadata(column: ColumnElement[Any], key: str, value: str) -> ColumnElement[bool]:
    """Returns SQL for: the metadata's key, written as text, is the value.

    SQLite reads a number as 64 bits and writes it back with 15 digits: a number that may be
    the one is compared as the text that is stored.
    """
    member = func.json_each(column).table_valued("key", "value", "type")
    is_number = member.c.type.in_(("integer", "real"))
    written = case(
        (member.c.type.in_(("true", "false")), member.c.type),
        (is_number, func.spelled_member(column, key)),
        else_=cast(member.c.value, Text),
    )
    near: ColumnElement[bool] = ~is_number
    if NUMBER.fullmatch(value):
        near |= member.c.value == func.json_extract(value, "$")
    return exists().where(member.c.key == key, near, written == value).select_from(member)


def spelled_member(metadata: str, key: str) -> str | None:
    """Returns a member of stored metadata as text: what PostgreSQL's ->> answers."""
    value = from_json(metadata).get(key)
    return value if value is None or isinstance(value, str) else to_json(value).decode()


def equip(connection: Any, _record: Any) -> None:
    """Gives a new connection the functions that SQL here calls."""
    connection.create_function("spelled_member", 2, spelled_member, deterministic=True)


def mark(_connection: Connection) -> str:
    """Returns nothing to wait for: one writer at a time holds the database."""
    return ""


def wait_out(_session: scoped_session[Any] | Connection, _transaction: str) -> None:
    """Returns at once."""


def among(columns: Sequence[Any], rows: Sequence[Sequence[Any]]) -> ColumnElement[bool]:
    """Returns SQL for: the columns are one of the rows."""
    return tuple_(*columns).in_(rows)


def lock_table(_connection: Connection, _name: str) -> None:
    """Does nothing: a write transaction keeps all others out."""


def one_at_a_time(_connection: Connection, _what: str) -> None:
    """Does nothing: a write transaction keeps all others out."""


def prepare_partitions(_engine: Engine, _moments: Iterable[datetime]) -> None:
    """Does nothing: the embedded engine keeps all events in one table."""


def droppable(session: scoped_session[Any], cutoff: datetime) -> tuple[datetime | None, int]:
    """Returns the month that the cutoff lies in, and how many events there are before."""
    month = month_of(cutoff)
    events = session.scalar(select(func.count()).where(Event.created_at < month)) or 0
    session.rollback()
    return (month if events else None), events


def drop_events(session: scoped_session[Any], before: datetime) -> None:
    """Deletes all events from before then, by slices: writers go on in between."""
    some = select(Event.id).where(Event.created_at < before).limit(SLICE_EVENTS)
    gone = SLICE_EVENTS
    while gone == SLICE_EVENTS:
        begun = time.monotonic()
        with transaction(session):
            dropped: Any = session.execute(
                delete(Event).where(Event.id.in_(some)),
                execution_options={"synchronize_session": False},
            )
            gone = dropped.rowcount
        time.sleep(time.monotonic() - begun)


def uuid_text(column: Any) -> ColumnElement[str]:
    """Returns SQL for a UUID, kept as 32 digits, as text with hyphens."""
    plain = cast(column, Text)
    first, *rest = (func.substr(plain, start, length) for start, length in UUID_PARTS)
    whole: ColumnElement[str] = first
    for part in rest:
        whole = whole.op("||")("-").op("||")(part)
    return whole


UUID_PARTS = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))


def time_text(column: Any) -> ColumnElement[str]:
    """Returns SQL for a time in RFC 3339, in UTC."""
    return func.replace(cast(column, Text), " ", "T").op("||")("Z")


def quarter(moment: ColumnElement[datetime]) -> ColumnElement[Any]:
    """Returns SQL for the quarter that holds the moment."""
    return whole_seconds(moment) // 900


def whole_seconds(moment: ColumnElement[datetime]) -> ColumnElement[Any]:
    """Returns SQL for the seconds since 1970.

    strftime rounds to milliseconds, up to the next second: the fraction stays out of it.
    """
    return cast(func.strftime("%s", func.substr(moment, 1, 19)), BigInteger)


@contextlib.contextmanager
def snapshot_beside(session: scoped_session[Any]) -> Iterator[Connection]:
    """Lends the session's own transaction, which keeps all writers out."""
    yield session.connection()


def partition_health(_connection: Connection) -> tuple[int, float]:
    """Returns one table that takes events of any time."""
    return 1, math.inf


def hurry(_connection: Any, *_: Any) -> None:
    """Does nothing: statements here wait for locks alone, and no longer than is set."""


@contextlib.contextmanager
def bounded(connection: Connection, is_over: Callable[[], bool]) -> Iterator[None]:
    """Ends statements that run when it is over."""
    raw: Any = connection.connection.driver_connection
    raw.set_progress_handler(is_over, STEPS_A_LOOK)
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)


def unhurried(_connection: Connection) -> None:
    """Does nothing: no statement is timed here."""
