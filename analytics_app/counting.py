"""Changes counts from outside of ingest: by what was erased, or found wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast
from zoneinfo import ZoneInfo

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    delete,
    func,
    select,
    text,
    tuple_,
)

from analytics_app import dialects
from analytics_app.models import Bookkeeping, Count, DayCount
from analytics_app.zones import QUARTERS_A_DAY, day_number, first_quarter
from chassis.database import writing

Tally = Mapping[tuple[int, str], int]

# A tally that the database makes for one connection: however long it is, it costs no memory here.
TALLY = Table(
    "tally",
    MetaData(),
    Column("quarter", Integer, primary_key=True, autoincrement=False),
    Column("event_type", String(100), primary_key=True),
    Column("n", BigInteger),
    prefixes=["TEMPORARY"],
)
COUNTING = "counting"  # who locks rows of several slots holds it, and so meets no other
DAYS_AT_ONCE = 500
ZEROS_AT_ONCE = 20_000
KEYS_AT_ONCE = 2_000


def tally(connection: Connection, events: Select[Any]) -> int:
    """Makes (quarter, event type, number) of events the connection's tally; returns the sum."""
    connection.execute(text("DROP TABLE IF EXISTS tally"))
    TALLY.create(connection, checkfirst=False)
    connection.execute(TALLY.insert().from_select(list(TALLY.c), events))
    connection.execute(text("ANALYZE tally"))
    return int(connection.execute(select(func.coalesce(func.sum(TALLY.c.n), 0))).scalar_one())


def subtract_tally(connection: Connection) -> None:
    """Takes the connection's tally out of the counts of its quarters and of their days."""
    zone = kept_zone(connection)
    subtract(connection, "counts", "quarter", "SELECT quarter, event_type, n FROM tally")
    if (days := days_of_tally(connection, zone)) is None:
        return
    for rows in days_as_values(zone, *days):
        by_day = (
            f"WITH days (day, first, last) AS (VALUES {rows}) "  # noqa: S608  # nosec B608
            "SELECT d.day, t.event_type, sum(t.n) AS n FROM days d "
            "JOIN tally t ON t.quarter >= d.first AND t.quarter < d.last "
            "GROUP BY d.day, t.event_type"
        )
        subtract(connection, "counts_day", "day", by_day)


def subtract(connection: Connection, table: str, unit: str, rows: str) -> None:
    """Takes `n` of each row that the SQL finds out of the table, in the order of its key."""
    slot = dialects.of(connection.engine).KEPT_SLOT
    # Whole numbers alone are written into the SQL; `WHERE true` ends the SELECT for SQLite.
    connection.execute(
        text(
            f"INSERT INTO {table} ({unit}, event_type, slot, count) "  # noqa: S608  # nosec B608
            f"SELECT {unit}, event_type, {slot}, -n FROM ({rows}) AS gone "
            f"WHERE true ORDER BY {unit}, event_type "
            f"ON CONFLICT ({unit}, event_type, slot) "
            f"DO UPDATE SET count = {table}.count + excluded.count"
        )
    )


def days_of_tally(connection: Connection, zone: ZoneInfo) -> tuple[int, int] | None:
    """Returns the first and the last day of the zone in the tally; None for an empty one."""
    ends = select(func.min(TALLY.c.quarter), func.max(TALLY.c.quarter))
    first, last = connection.execute(ends).one()
    return None if first is None else (day_number(first, zone), day_number(last, zone))


def utc_days_of_tally(connection: Connection) -> list[int]:
    """Returns the UTC days that the tally touches."""
    days = select(TALLY.c.quarter.op("/")(QUARTERS_A_DAY)).distinct()
    return [int(day) for day in connection.scalars(days)]


def days_as_values(zone: ZoneInfo, first: int, last: int) -> Iterator[str]:
    """Yields the days `[first, last]` as SQL rows (day, its first quarter, the next day's)."""
    for since in range(first, last + 1, DAYS_AT_ONCE):
        days = range(since, min(since + DAYS_AT_ONCE, last + 1))
        yield ", ".join(
            f"({day}, {first_quarter(day, zone)}, {first_quarter(day + 1, zone)})" for day in days
        )


def drop_zeros_of_tally(connection: Connection) -> None:
    """Deletes the counts of the tally's keys whose slots sum up to nothing; commits.

    Each table in transactions of its own: ingest locks rows of both, in its own order.
    """
    with connection.begin():
        days = days_of_tally(connection, kept_zone(connection))
    if days is None:
        return
    touched = select(TALLY.c.quarter, TALLY.c.event_type)
    drop_zeros(
        connection, "quarter", Count.__table__, tuple_(Count.quarter, Count.event_type).in_(touched)
    )
    types = select(TALLY.c.event_type)
    drop_zeros(
        connection,
        "day",
        DayCount.__table__,
        DayCount.day.between(*days),
        DayCount.event_type.in_(types),
    )


def drop_zeros(
    connection: Connection, unit: str, table: FromClause, *within: ColumnElement[bool]
) -> None:
    """Deletes the rows within whose key's slots sum up to nothing; commits."""
    key = table.c[unit], table.c.event_type
    sums = select(*key).where(*within).group_by(*key).having(func.sum(table.c.count) == 0)
    dropped = 1
    while dropped:
        with connection.begin():
            dialects.of(connection.engine).unhurried(connection)
            keys = connection.execute(sums.limit(ZEROS_AT_ONCE)).tuples().all()
        dropped = 0
        for start in range(0, len(keys), KEYS_AT_ONCE):
            with writing(connection):
                some = keys[start : start + KEYS_AT_ONCE]
                dropped += drop_rows(connection, unit, cast(Table, table), some)


def drop_rows(
    connection: Connection, unit: str, table: Table, keys: Sequence[tuple[int, str]]
) -> int:
    """Deletes the rows of those keys that hold nothing under their locks; returns how many."""
    dialects.of(connection.engine).one_at_a_time(connection, COUNTING)
    key = table.c[unit], table.c.event_type, table.c.slot
    among = dialects.of(connection.engine).among
    chosen = select(table).where(among(key[:2], keys)).order_by(*key).with_for_update()
    rows = connection.execute(chosen).all()
    sums: Counter[tuple[int, str]] = Counter()
    for number, event_type, _, count in rows:
        sums[number, event_type] += count
    gone = [tuple(row[:3]) for row in rows if not sums[row[0], row[1]]]
    delete_rows(connection, unit, table, gone)
    return len(gone)


def delete_rows(
    connection: Connection, unit: str, table: Table, keys: Sequence[tuple[Any, ...]]
) -> None:
    """Deletes the rows with these keys (quarter or day, event type, slot)."""
    among = dialects.of(connection.engine).among
    key = table.c[unit], table.c.event_type, table.c.slot
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = keys[start : start + KEYS_AT_ONCE]
        connection.execute(delete(table).where(among(key, some)))


def kept_zone(connection: Connection) -> ZoneInfo:
    """Returns the zone of `counts_day`, which stays so until the transaction ends."""
    kept = select(Bookkeeping.reporting_zone).with_for_update(read=True)
    return ZoneInfo(connection.execute(kept).scalar_one())


def add(connection: Connection, by_quarter: Tally) -> None:
    """Adds to the counts of (quarter, event type), and to those of their days."""
    zone = kept_zone(connection)
    by_day: Counter[tuple[int, str]] = Counter()
    for (quarter, event_type), n in by_quarter.items():
        by_day[day_number(quarter, zone), event_type] += n
    merge(connection, Count.__table__, "quarter", by_quarter)
    merge(connection, DayCount.__table__, "day", by_day)


def merge(connection: Connection, table: FromClause, unit: str, tally: Tally) -> None:
    """Adds in the order of the key, as every writer does."""
    dialect = dialects.of(connection.engine)
    rows = [
        {unit: number, "event_type": event_type, "slot": dialect.KEPT_SLOT, "count": n}
        for (number, event_type), n in sorted(tally.items())
    ]
    if not rows:
        return
    adding = dialect.insert(table)
    changed = adding.on_conflict_do_update(
        index_elements=[unit, "event_type", "slot"],
        set_={"count": table.c.count + adding.excluded.count},
    )
    connection.execute(changed, rows)
