"""PostgreSQL sessions: what each is told once it is there, and which errors end it.

What a session needs is set after connecting, not by start-up parameters: PgBouncer refuses
those it doesn't know, or drops them without a word where it is told to ignore them.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2.extensions import adapt
from sqlalchemy.exc import DisconnectionError

from chassis.telemetry import get_logger

# A standby or a server that was set read-only (25006; 55000 for a lock at a standby), one that
# is starting, closing or has ended the session (57P0x, 25P03, 25P04), a connection that broke.
UNABLE = ("08", "25006", "25P03", "25P04", "55000", "57P0")
READ_ONLY_SECONDS = 1.0  # so long a session that can't write is kept before another is tried
READ_ONLY = "read_only_since"
IS_NEW = "is_new"
POOLER_SECONDS = 0.5
TRANSACTION_POOLING = (
    "the pooler before the database lends its connections by the transaction: "
    "set it to session pooling (PgBouncer: pool_mode = session)"
)
Listeners = list[tuple[Callable[..., None], str]]
log = get_logger(__name__)
pooled_by_session: set[str] = set()  # the addresses behind which a pooler was seen to do so


def is_unable(error: BaseException | None) -> bool:
    """Whether the error says that this server can't do the work: another session might."""
    return isinstance(error, psycopg2.Error) and (error.pgcode or "").startswith(UNABLE)


def is_read_only(error: BaseException | None) -> bool:
    """Whether the error says that this session can't write."""
    return isinstance(error, psycopg2.errors.ReadOnlySqlTransaction)


def session_listeners(settings: Mapping[str, str], *, writes: bool) -> Listeners:
    """Returns a pool's listeners, by which each session has the settings and no stale mode.

    Where it is to write, a session that began read-only (at a standby) is replaced when it is
    lent a second later: the address may lead to the primary by then.
    """

    def begin(connection: Any, record: Any) -> None:
        read_only = begin_session(connection, settings)
        record.info[READ_ONLY] = time.monotonic() if read_only and writes else None
        record.info[IS_NEW] = True

    return [(begin, "connect"), (replace_read_only, "checkout"), (reset_modes, "checkin")]


def begin_session(connection: Any, settings: Mapping[str, str]) -> bool:
    """Sets up a new session in one round trip; returns whether it can't write.

    Raises OperationalError where the next transaction might meet another session.
    """
    connection.autocommit = True
    found = asked(connection, setup(settings))
    if found[0] != connection.info.backend_pid:  # a pooler, which makes that number up
        refuse_transaction_pooling(connection, found[0])
    connection.autocommit = False
    return bool(found[1])


def setup(settings: Mapping[str, str]) -> str:
    """Returns a statement that sets each setting for the session.

    The server raises for what it doesn't take. The row begins with the session's process and
    with whether it can't write.
    """
    asks = ["pg_backend_pid()", "current_setting('transaction_read_only')::boolean"]
    sets = [f"set_config({adapt(name)}, {adapt(value)}, false)" for name, value in settings.items()]
    return f"SELECT {', '.join(asks + sets)}"


def asked(connection: Any, statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()


def refuse_transaction_pooling(connection: Any, pid: int) -> None:
    """Raises OperationalError if another client is lent the session's process in between.

    Looks once at each address, since it takes a second connection; where the pooler has none
    to lend, which one that lends by the transaction had, the next connection looks.
    """
    if connection.dsn in pooled_by_session:
        return
    try:
        shared = is_shared(connection, pid)
    except psycopg2.Error:
        return
    if shared:
        connection.close()
        log.error("database can't be used", reason=TRANSACTION_POOLING)
        raise psycopg2.OperationalError(TRANSACTION_POOLING)
    pooled_by_session.add(connection.dsn)


def is_shared(connection: Any, pid: int) -> bool:
    ask = "SELECT pg_backend_pid()"
    other: Any = psycopg2.connect(
        **connection.info.dsn_parameters,
        password=connection.info.password,
        connection_factory=type(connection),
    )
    with closing(other):  # which is in a transaction once it has asked, and so holds its process
        other.patience, other.pulse = POOLER_SECONDS, None
        return bool(pid == asked(other, ask)[0] or pid != asked(connection, ask)[0])


def has_ended(connection: Any) -> bool:
    """Whether the server has ended an idle session, as far as word of it has come; asks nobody.

    Nothing else comes unasked but news of a setting, after which another session does as well.
    """
    poller = select.poll()
    try:
        poller.register(connection, select.POLLIN)
    except psycopg2.Error:  # it is closed here
        return True
    return bool(poller.poll(0))


def replace_ended(connection: Any, record: Any, _lent: Any) -> None:
    """Has a session that ended while it was idle replaced when it is lent: a pool's listener."""
    if not record.info.pop(IS_NEW, False) and has_ended(connection):
        raise DisconnectionError("the server has ended the session")


def replace_read_only(_connection: Any, record: Any, _lent: Any) -> None:
    since = record.info.get(READ_ONLY)
    if since is not None and time.monotonic() - since > READ_ONLY_SECONDS:
        raise DisconnectionError("the session began read-only")


def reset_modes(connection: Any, _record: Any) -> None:
    """Leaves a transaction's modes to the server again, once a snapshot has set them.

    SQLAlchemy would set READ WRITE, which a standby refuses (0A000), and which writes on where
    default_transaction_read_only says that nobody should.
    """
    if connection is not None and not connection.closed:
        connection.isolation_level = connection.readonly = None
