"""Engine settings by dialect, write transactions, and what a database's silence means."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any

import psycopg2.errors
from flask import Flask, Response
from flask_sqlalchemy import session as flask_session
from pydantic import AfterValidator
from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Delete,
    Dialect,
    Engine,
    ExceptionContext,
    TypeDecorator,
    delete,
    event,
    false,
    inspect,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Session, scoped_session
from sqlalchemy.pool import QueuePool, StaticPool

from chassis import pool, postgres
from chassis.errors import Problem, Unavailable
from chassis.patience import Pulse, patient
from chassis.problems import answer_to, answer_to_bug

BUSY_TIMEOUT_MS = 5000
POOL_WAIT_SECONDS = 1.5
SLICE_ROWS = 10_000
RECONNECTS_AFTER_ROLLBACK = "8s2b"  # SQLAlchemy's name for: the connection broke before this
READ_ONLY = "postgresql_readonly"  # SQLAlchemy's option
TOO_LONG = "This took too long: narrow the range or add a filter."


class RequestSession(flask_session.Session):
    """A request's session; a connection that breaks while it closes costs nothing.

    It closes after the answer is made: what was written is committed by then, or given up.
    """

    def close(self) -> None:
        try:
            super().close()
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite keeps no offset, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def database_url(text: str) -> str:
    """Returns the URL with psycopg2 named: `postgres://` and `postgresql://` both mean it."""
    scheme, separator, rest = text.partition("://")
    if scheme in ("postgres", "postgresql"):
        text = f"postgresql+psycopg2{separator}{rest}"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError("must be a database URL") from None
    if url.drivername not in ("postgresql+psycopg2", "sqlite"):
        raise ValueError("must begin with postgresql:// or sqlite://")
    return text


DatabaseUrl = Annotated[str, AfterValidator(database_url)]


def is_sqlite(url: str) -> bool:
    """Whether the URL names the embedded engine."""
    return make_url(url).get_backend_name() == "sqlite"


def engine_options(
    url: str,
    *,
    application_name: str,
    pool_size: int = 8,
    statement_timeout_ms: int = 3000,
    grace_ms: int = 500,
    writes: bool = True,
) -> dict[str, Any]:
    """Returns create_engine's options; a pool that is exhausted raises after 1.5 s.

    The server ends a statement at its timeout; a connection that says nothing has `grace_ms`
    more before we give it up. `writes` is False for a replica's: no session there will ever.
    """
    session = {
        "statement_timeout": f"{statement_timeout_ms}ms",
        "TimeZone": "UTC",
        "application_name": application_name,  # a pooler may have added to what it was given
    }
    # An error's text is logged: it must not hold what the statement was given.
    if is_sqlite(url):
        return {"hide_parameters": True, **sqlite_options(url)}
    return {
        "hide_parameters": True,
        "pool_size": pool_size,
        "max_overflow": 0,
        "poolclass": pool_that_waits(POOL_WAIT_SECONDS),
        "pool_pre_ping": True,
        "pool_recycle": 1800,
        "pool_events": postgres.session_listeners(session, writes=writes),
        "connect_args": {
            "connection_factory": patient((statement_timeout_ms + grace_ms) / 1000, pulse_of(url)),
            "application_name": application_name,
            "connect_timeout": 2,
            "keepalives_idle": 15,
            "tcp_user_timeout": 5000,
        },
    }


@cache
def pulse_of(url: str) -> Pulse:
    """Returns the pulse of the PostgreSQL at an address: this process's only one."""
    parsed = make_url(url)
    _, parameters = parsed.get_dialect()().create_connect_args(parsed)
    return Pulse({**parameters, "application_name": "footfall-probe"})


def pool_that_waits(seconds: float) -> type[QueuePool]:
    """Returns a pool that waits so long for a free connection, then raises.

    Flask-SQLAlchemy has `pool_timeout` cut to whole seconds: half a second would be none.
    """

    class WaitingPool(QueuePool):
        def __init__(self, creator: Any, **given: Any) -> None:
            super().__init__(creator, **{**given, "timeout": seconds})

    return WaitingPool


def sqlite_options(url: str) -> dict[str, Any]:
    if make_url(url).database in (None, "", ":memory:"):
        return {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    return {"connect_args": {"timeout": BUSY_TIMEOUT_MS / 1000}}


def prepare(engine: Engine) -> None:
    """Makes SQLite durable and its transactions explicit; keeps no session that is of no use.

    A transaction that will write says so at its begin: SQLite refuses at once to upgrade
    one that began as a reader while another process writes.
    """
    if engine.dialect.name != "sqlite":
        event.listen(engine, "handle_error", throw_away)
        return

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def throw_away(context: ExceptionContext) -> None:
    """Has all connections of the pool replaced once one has met a server that isn't able.

    A snapshot is read-only by our own choice: who writes in one has a bug, which stays one.
    """
    cause, connection = context.original_exception, context.connection
    chosen = connection is not None and connection.get_execution_options().get(READ_ONLY)
    if postgres.is_unable(cause) and not (chosen and postgres.is_read_only(cause)):
        context.is_disconnect = True


@contextmanager
def transaction(session: Session | scoped_session[Any]) -> Iterator[None]:
    """Runs one write transaction: committed at the end, rolled back on any error."""
    session.rollback()  # ends a read transaction, which SQLite could not upgrade
    session.connection(execution_options={"writes": True})
    try:
        yield
        session.commit()
    except BaseException:
        session.rollback()
        raise


@contextmanager
def writing(connection: Connection) -> Iterator[None]:
    """Runs one write transaction on a connection that is kept from one to the next."""
    connection.execution_options(writes=True)
    try:
        with connection.begin():
            yield
    finally:
        connection.execution_options(writes=False)


def delete_in_slices(
    run: Callable[[Delete], int], model: type[DeclarativeBase], *where: ColumnElement[bool]
) -> int:
    """Deletes the rows slice by slice; returns how many.

    `run` executes one statement in a transaction of its own and returns its row count. So
    whoever is ended by a time-out keeps what was done: all at once would begin anew each time.
    """
    key = inspect(model).primary_key
    some = select(*key).where(*where).limit(SLICE_ROWS)
    one = delete(model).where(tuple_(*key).in_(some))
    total = gone = run(one)
    while gone == SLICE_ROWS:
        gone = run(one)
        total += gone
    return total


def check(engine: Engine) -> None:
    """Raises if the database doesn't answer."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def check_writes(engine: Engine, model: type[DeclarativeBase]) -> None:
    """Raises if nothing can be written to the database, as to this table; changes nothing.

    PostgreSQL refuses an update of no row as it would any other, and without a trace where
    it doesn't. Only a commit shows whether SQLite's file can grow; another process that is
    about to make one shows it as well.
    """
    if engine.dialect.name == "sqlite":
        commit_nothing(engine)
        return
    key = inspect(model).primary_key[0]
    with engine.connect() as connection:
        connection.execute(update(model).values({key: key}).where(false()))


def commit_nothing(engine: Engine) -> None:
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        ((version,),) = cursor.execute("PRAGMA user_version")
        cursor.execute("PRAGMA busy_timeout = 0")
        try:
            cursor.execute(f"PRAGMA user_version = {version}")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


def install(app: Flask) -> None:
    """Answers 503 when the database is down or too slow, and never a 500 for it."""
    for error in (OperationalError, InterfaceError):
        app.register_error_handler(error, lambda each: answer_to(unavailable(each)))
    app.register_error_handler(DBAPIError, answer_to_lost_connection)
    app.register_error_handler(PendingRollbackError, answer_to_lost_connection)
    with app.app_context():
        metrics = pool.install(app, app.extensions["sqlalchemy"].engines)

    @app.errorhandler(PoolTimeout)
    def none_free(error: PoolTimeout) -> Response:
        metrics.timeouts.inc()
        return answer_to(unavailable(error))


def answer_to_lost_connection(error: DBAPIError | PendingRollbackError) -> Response:
    """Answers 503 where the connection broke under way; any other error is a bug.

    A server that is killed in the middle of an answer gives errors of no particular kind.
    """
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if lost or error.code == RECONNECTS_AFTER_ROLLBACK:
        return answer_to(unavailable(error))
    return answer_to_bug(error)


def unavailable(error: Exception) -> Problem:
    """Returns what a database error means to a caller."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    if isinstance(cause, psycopg2.errors.QueryCanceled):
        return Unavailable(TOO_LONG, retry_after=5)
    if postgres.is_read_only(cause):
        return Unavailable("The database takes no changes right now.", retry_after=2)
    return Unavailable("The database is not answering right now.", retry_after=2)
