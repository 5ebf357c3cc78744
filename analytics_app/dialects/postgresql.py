"""PostgreSQL: one prepared statement claims, inserts and counts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
import psycopg2.errors
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    Text,
    cast,
    func,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import insert as insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import scoped_session

from analytics_app.dialects import partitions
from analytics_app.dialects.rows import PartitionLimits, Row, Stored
from analytics_app.zones import QUARTER_US, day_number, microseconds
from chassis.patience import wait_until
from chassis.postgres import has_ended as has_ended  # what writers.py asks each engine
from chassis.postgres import is_unable, setup

NEEDS_A_TYPE = True  # no index holds all events by time alone: that would be a third
SLOTS = 8
KEPT_SLOT = 0  # no writer counts there: what is folded or erased never meets one
APPLICATION = "footfall-ingest"
CONNECT = {"application_name": APPLICATION, "keepalives_idle": 15, "tcp_user_timeout": 5000}
# The plan is made once, perhaps while tables are empty: it must still fit when they are not.
# So look-ups are by index (OFFSET 0 keeps them from becoming joins with whole tables).
SESSION = {
    "application_name": APPLICATION,
    "TimeZone": "UTC",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    "enable_seqscan": "off",
}


# Presence that is there already is left alone, but for those who were erased before, and
# while a type is being erased: what is under way may take it away, and is then waited for.
# The order of the input, of the locks on counts and of those on presence is the same in
# every statement, so that no two can wait for each other.
STORE = """
WITH input AS (
    SELECT i.actor, TIMESTAMPTZ 'epoch' + i.time * INTERVAL '1 microsecond' AS created_at,
           i.event_id, i.event_type, i.user_id, i.metadata, i.position,
           EXISTS (
               SELECT FROM event_types t
               WHERE t.event_type = i.event_type AND NOT t.erasing OFFSET 0) AS registered
    FROM unnest(
        $1::bigint[], $2::bigint[], $3::uuid[],
        string_to_array($4, E'\\n'), $5::bigint[], string_to_array($6, E'\\n')
    ) WITH ORDINALITY AS i(actor, time, event_id, event_type, user_id, metadata, position)
), claimed AS (
    INSERT INTO events (actor, created_at, event_id, event_type, user_id, metadata)
    SELECT i.actor, i.created_at, i.event_id, i.event_type, i.user_id, i.metadata::json
    FROM input i
    WHERE i.registered AND (SELECT b.reporting_zone = $10 FROM bookkeeping b)
      AND i.created_at >= (SELECT coalesce(b.dropped_before, '-infinity') FROM bookkeeping b)
      AND NOT EXISTS (
          SELECT FROM tombstones t
          WHERE t.actor = i.actor AND i.created_at < t.erased_before OFFSET 0)
    ON CONFLICT DO NOTHING
    RETURNING id, actor, created_at, event_id, event_type,
              floor(date_part('epoch', created_at) / 900)::int AS quarter
), tally AS (
    SELECT quarter, event_type, count(*) AS n FROM claimed GROUP BY quarter, event_type
), counted AS (
    INSERT INTO counts AS c (quarter, event_type, slot, count)
    SELECT quarter, event_type, $7, n FROM tally ORDER BY quarter, event_type
    ON CONFLICT (quarter, event_type, slot) DO UPDATE SET count = c.count + excluded.count
), counted_by_day AS (
    INSERT INTO counts_day AS c (day, event_type, slot, count)
    SELECT d.day, t.event_type, $7, sum(t.n)
    FROM tally t JOIN unnest($8::int[], $9::int[]) AS d(quarter, day) ON d.quarter = t.quarter
    GROUP BY d.day, t.event_type ORDER BY d.day, t.event_type
    ON CONFLICT (day, event_type, slot) DO UPDATE SET count = c.count + excluded.count
), seen AS (
    SELECT quarter / 96 AS day, actor,
           bit_or(CASE WHEN quarter % 96 < 48 THEN 1::bigint << (quarter % 96) ELSE 0 END) AS low,
           bit_or(CASE WHEN quarter % 96 < 48 THEN 0 ELSE 1::bigint << (quarter % 96 - 48) END)
               AS high
    FROM claimed WHERE actor <> 0 GROUP BY quarter / 96, actor
), present AS (
    INSERT INTO presence AS p (day, actor, low, high)
    SELECT s.day, s.actor, s.low, s.high
    FROM seen s
    WHERE NOT EXISTS (
        SELECT FROM presence k WHERE k.day = s.day AND k.actor = s.actor
        AND (k.low & s.low) = s.low AND (k.high & s.high) = s.high OFFSET 0)
      OR EXISTS (SELECT FROM tombstones t WHERE t.actor = s.actor OFFSET 0)
      OR EXISTS (SELECT FROM event_types t WHERE t.erasing)
    ORDER BY s.day, s.actor
    ON CONFLICT (day, actor) DO UPDATE
        SET low = p.low | excluded.low, high = p.high | excluded.high
        WHERE (p.low | excluded.low) <> p.low OR (p.high | excluded.high) <> p.high
), late AS (
    INSERT INTO dirty_days (day)
    SELECT DISTINCT quarter / 96 AS day FROM tally
    WHERE quarter / 96 <= (SELECT max(day) FROM sealed_days)
    ORDER BY day
    ON CONFLICT DO NOTHING
)
"""
TYPES = "(text, text, text, text, text, text, smallint, text, text, text)"
KNOWN = "SELECT i.position, c.id FROM claimed c JOIN input i USING (actor, created_at, event_id)"
UNREGISTERED = "SELECT i.position, NULL FROM input i WHERE NOT i.registered"
COUNT = f"SELECT 0, count(*) FROM claimed UNION ALL {UNREGISTERED}"  # noqa: S608  # nosec B608
# Which rows were claimed matters only when some were not.
DETAILS = f"{KNOWN} WHERE (SELECT count(*) FROM claimed) < $11::int"  # noqa: S608  # nosec B608

# A batch is new as a rule, and to insert without looking for repeats first is a fifth cheaper.
ALL_NEW = STORE.replace("ON CONFLICT DO NOTHING", "", 1)
BULK_TYPES = f"{TYPES[:-1]}, int)"

PREPARE = (
    f"PREPARE store_numbered {TYPES} AS {STORE} {KNOWN} UNION ALL {UNREGISTERED};"
    f"PREPARE store_new {BULK_TYPES} AS {ALL_NEW} {COUNT} UNION ALL {DETAILS};"
    f"PREPARE store_bulk {BULK_TYPES} AS {STORE} {COUNT} UNION ALL {DETAILS}"
)
NUMBERED = "EXECUTE store_numbered (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
NEW = "EXECUTE store_new (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
BULK = "EXECUTE store_bulk (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"


def open_for_ingest(engine: Engine, deadline: float, timeout: float) -> Any:
    """Opens a connection whose every wait ends at a deadline, its statements planned once.

    The server ends a statement a little before `timeout` seconds, when we would leave it.
    """
    _, given = engine.dialect.create_connect_args(engine.url)
    connection = psycopg2.connect(**{**given, **CONNECT}, async_=True)
    wait_until(connection, deadline)
    session = {**SESSION, "statement_timeout": f"{int(timeout * 900)}ms"}
    run(connection, deadline, f"{PREPARE};{setup(session)}")
    return connection


def run(connection: Any, deadline: float, sql: str, given: Sequence[Any] = ()) -> Any:
    """Runs one statement, autocommitted; raises OperationalError when the deadline passes first."""
    cursor = connection.cursor()
    cursor.execute(sql, given or None)
    wait_until(connection, deadline)
    return cursor


def close(connection: Any) -> None:
    """Closes what may be broken already."""
    if connection is not None:
        with contextlib.suppress(psycopg2.Error):
            connection.close()


def is_outage(error: BaseException) -> bool:
    """Whether the error says that the database is gone, stalled, overloaded or read-only."""
    broken = psycopg2.OperationalError | psycopg2.InterfaceError
    return isinstance(error, broken) or is_unable(error)


def kept_zone(connection: Any, deadline: float) -> str:
    """Returns the zone that counts_day is kept in."""
    found = run(connection, deadline, "SELECT reporting_zone FROM bookkeeping")
    zone: str = found.fetchone()[0]
    return zone


def store(
    connection: Any,
    rows: Sequence[Row],
    zone: str,
    slot: int,
    numbered: bool,
    limits: PartitionLimits,
    deadline: float,
) -> Stored:
    """Stores and counts the rows in one statement, committed when it returns.

    The rows must be sorted and without repeats; `zone` is the one counts_day is kept in:
    if it is another by now, all rows come back as refused. Partitions that are missing
    are made, within the limits, and kept whatever becomes of the rows.
    """
    try:
        return stored(connection, rows, zone, slot, numbered, deadline)
    except psycopg2.errors.CheckViolation:  # no partition holds one of the rows
        moments = {row.created_at for row in rows}
        left = partitions.ensure(executor(connection, deadline), moments, limits)
        housed = [n for n, row in enumerate(rows) if row.created_at not in left]
        homeless = [n for n, row in enumerate(rows) if row.created_at in left]
        some = [rows[n] for n in housed]
        outcome = stored(connection, some, zone, slot, numbered, deadline) if some else Stored()
        return outcome.at(housed, homeless)


def stored(
    connection: Any, rows: Sequence[Row], zone: str, slot: int, numbered: bool, deadline: float
) -> Stored:
    given = arguments(rows, zone, slot)
    if numbered:
        return numbered_outcome(run(connection, deadline, NUMBERED, given).fetchall(), len(rows))
    given = (*given, len(rows))
    try:
        found = run(connection, deadline, NEW, given).fetchall()
    except psycopg2.errors.UniqueViolation:
        found = run(connection, deadline, BULK, given).fetchall()
    return bulk_outcome(found, len(rows))


def executor(connection: Any, deadline: float) -> partitions.Execute:
    """Returns what runs one statement on the connection and returns its rows."""

    def execute(sql: str) -> list[tuple[Any, ...]]:
        cursor = run(connection, deadline, sql)
        return cursor.fetchall() if cursor.description else []

    return execute


def arguments(rows: Sequence[Row], zone: str, slot: int) -> tuple[Any, ...]:
    """Returns the statement's arguments as text, which PostgreSQL reads faster than lists.

    No event type and no JSON text holds a line break, so a line break can separate them.
    Times are numbers: to write them out costs four times as much.
    """
    actors, moments, ids, types, users, details = zip(*rows, strict=True)
    times = list(map(microseconds, moments))
    quarters = sorted({time // QUARTER_US for time in times})
    days = [day_number(quarter, ZoneInfo(zone)) for quarter in quarters]
    return (
        array(actors),
        array(times),
        array(ids),
        "\n".join(types),
        array("NULL" if user is None else user for user in users),
        "\n".join(details),
        slot,
        array(quarters),
        array(days),
        zone,
    )


def array(values: Iterable[Any]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


def numbered_outcome(found: list[tuple[int, int | None]], given: int) -> Stored:
    ids = {position - 1: number for position, number in found if number is not None}
    return Stored(ids, [each for each in range(given) if each not in ids], unregistered(found))


def bulk_outcome(found: list[tuple[int, int | None]], given: int) -> Stored:
    stored = {position - 1 for position, number in found if position and number is not None}
    if not stored and (0, given) in found:
        return Stored()
    refused = [position for position in range(given) if position not in stored]
    return Stored(refused=refused, unregistered=unregistered(found))


def unregistered(found: list[tuple[int, int | None]]) -> list[int]:
    return [position - 1 for position, number in found if number is None]


SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

AS_OF = """
SELECT CASE
    WHEN NOT pg_is_in_recovery() THEN now()
    WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN (
        SELECT last_msg_receipt_time FROM pg_stat_wal_receiver WHERE status = 'streaming')
END, pg_last_xact_replay_timestamp(), now()
"""


def as_of(connection: Connection) -> datetime:
    """Returns up to when a replica's answer is complete."""
    caught_up, replayed, now = connection.execute(text(AS_OF)).one()
    moment: datetime = caught_up or replayed or now
    return moment


# Whoever may not see more of the receiver sees that there is one.
FOLLOWS = "SELECT NOT pg_is_in_recovery() OR EXISTS (SELECT FROM pg_stat_wal_receiver)"


def follows(connection: Connection) -> bool:
    """Whether a replica receives what its primary writes."""
    return bool(connection.scalar(text(FOLLOWS)))


def minute(moment: ColumnElement[datetime]) -> ColumnElement[Any]:
    """Returns SQL for the start of the moment's minute, as seconds since 1970."""
    seconds = func.floor(func.date_part("epoch", moment) / 60) * 60
    return cast(seconds, BigInteger)


def has_metadata(column: ColumnElement[Any], key: str, value: str) -> ColumnElement[bool]:
    """Returns SQL for: the metadata's key, written as text, is the value."""
    return column.op("->>")(key) == value


def equip(_connection: Any, _record: Any) -> None:
    """Does nothing: the server has all functions that SQL here calls."""


OLDER = text(
    """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = :application
  AND age(backend_xmin) >= age(CAST(CAST(:transaction AS text) AS xid))
"""
)


def mark(connection: Connection) -> str:
    """Returns the number of this transaction, for `wait_out`."""
    number = connection.execute(text("SELECT pg_current_xact_id()::xid::text")).scalar_one()
    return str(number)


def wait_out(session: scoped_session[Any] | Connection, transaction: str) -> None:
    """Returns once no ingest statement runs that can't see the marked, committed transaction.

    Such a statement took its snapshot while the transaction was under way, so its oldest
    running transaction is that one or an older one. Ingest's timeout bounds the wait.
    """
    while session.execute(
        OLDER, {"transaction": transaction, "application": APPLICATION}
    ).scalar_one():
        session.rollback()  # a transaction sees one picture of the activity
        time.sleep(0.01)
    session.rollback()


def among(columns: Sequence[Any], rows: Sequence[Sequence[Any]]) -> ColumnElement[bool]:
    """Returns SQL for: the columns are one of the rows; a long list of pairs would be slow."""
    values = zip(*rows, strict=True)
    lists = [cast(list(each), ARRAY(c.type)) for c, each in zip(columns, values, strict=True)]
    return tuple_(*columns).in_(select(*map(func.unnest, lists)))


def lock_table(connection: Connection, name: str) -> None:
    """Keeps writers out of a table until the transaction ends; readers go on."""
    connection.execute(text(f"LOCK TABLE {name} IN EXCLUSIVE MODE"))


# Any constants: whoever adds event types, changes counts that others wrote, or adds a record
# of which there may be so many, holds one.
ONE_AT_A_TIME = {
    "registering": 7_041_776_004,
    "counting": 7_041_776_005,
    "adding": 7_041_776_006,
}


def one_at_a_time(connection: Connection, what: str) -> None:
    """Keeps others from doing this too until the transaction ends."""
    connection.execute(text(f"SELECT pg_advisory_xact_lock({ONE_AT_A_TIME[what]})"))


def prepare_partitions(engine: Engine, moments: Iterable[datetime]) -> None:
    """Makes the partitions that hold the moments, where they are missing."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        partitions.ensure(plain_executor(connection), moments)


def plain_executor(connection: Connection) -> partitions.Execute:
    def execute(sql: str) -> list[tuple[Any, ...]]:
        found = connection.exec_driver_sql(sql)
        return [tuple(row) for row in found] if found.returns_rows else []

    return execute


def droppable(session: scoped_session[Any], cutoff: datetime) -> tuple[datetime | None, int]:
    """Returns up to when whole partitions ended by the cutoff, and how many events they hold."""
    unhurried(session.connection())
    execute = plain_executor(session.connection())
    ended = [each for each in partitions.existing(execute) if each.end <= cutoff]
    counts = [f"SELECT count(*) FROM {each.name}" for each in ended]  # noqa: S608  # nosec B608
    events = sum(execute(each)[0][0] for each in counts)
    session.rollback()
    return (ended[-1].end if ended else None), events


def drop_events(session: scoped_session[Any], before: datetime) -> None:
    """Drops all partitions that ended by then; one that is being read is left for next time.

    A drop waits for readers only for a moment, because writers would wait behind it.
    """
    found = partitions.existing(plain_executor(session.connection()))
    session.rollback()
    for each in found:
        if each.end <= before:
            with contextlib.suppress(OperationalError):
                session.execute(text("SET LOCAL lock_timeout = '200ms'"))
                session.execute(text(f"DROP TABLE {each.name}"))
                session.commit()
            session.rollback()


def uuid_text(column: Any) -> ColumnElement[str]:
    """Returns SQL for a UUID as text with hyphens."""
    return cast(column, Text)


def time_text(column: Any) -> ColumnElement[str]:
    """Returns SQL for a time in RFC 3339, in UTC."""
    return func.to_char(func.timezone("UTC", column), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')


def quarter(moment: ColumnElement[datetime]) -> ColumnElement[Any]:
    """Returns SQL for the quarter that holds the moment."""
    return cast(func.floor(func.date_part("epoch", moment) / 900), Integer)


CORRECTING = 7_041_776_003  # any constant: whoever corrects rollups holds it


@contextlib.contextmanager
def snapshot_beside(session: scoped_session[Any]) -> Iterator[Connection]:
    """Lends a snapshot to compare in, while the session's transaction keeps others from it."""
    unhurried(session.connection())
    session.execute(text(f"SELECT pg_advisory_xact_lock({CORRECTING})"))
    engine = session.connection().engine
    with engine.connect().execution_options(**SNAPSHOT) as connection:
        unhurried(connection)
        yield connection


def partition_health(connection: Connection) -> tuple[int, float]:
    """Returns how many partitions there are, and how many seconds they reach beyond now."""
    found = partitions.existing(plain_executor(connection))
    ahead = (found[-1].end - datetime.now(UTC)).total_seconds() if found else 0.0
    return len(found), ahead


def hurry(connection: Any, *_: Any) -> None:
    """Gives a connection that is lent anew its usual patience."""
    vars(connection).pop("patience", None)


@contextlib.contextmanager
def bounded(connection: Connection, is_over: Callable[[], bool]) -> Iterator[None]:
    """Ends statements that run when it is over."""
    raw: Any = connection.connection.driver_connection
    raw.is_over = is_over
    try:
        yield
    finally:
        del raw.is_over


def unhurried(connection: Connection) -> None:
    """Lets the rest of this transaction take its time: it is work, and nobody's report."""
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    raw: Any = connection.connection.driver_connection
    raw.patience = None
