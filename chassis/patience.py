"""Connections that don't wait for ever: a server that is stopped or cut off says nothing.

PostgreSQL's own timeouts end a statement on a server that runs. Against one that does not,
the client must keep the time: psycopg2 lets it, by a callback that waits in its place.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable

from psycopg2 import OperationalError, extensions

CONNECT_SECONDS = 1.0
LOOK_SECONDS = 0.1
CANCEL_SECONDS = 1.0
WAIT_FOR = {extensions.POLL_READ: select.POLLIN, extensions.POLL_WRITE: select.POLLOUT}


def patient(seconds: float) -> type[extensions.connection]:
    """Returns a kind of connection that raises OperationalError after so long a silence."""
    return type("PatientConnection", (extensions.connection,), {"patience": seconds})


def wait(connection: extensions.connection) -> None:
    """Waits for the server, no longer than the connection's patience if it has some.

    Once its `is_over` says so, the statement that runs is ended.
    """
    patience = getattr(connection, "patience", None)
    if patience is not None and connection.status == extensions.STATUS_SETUP:
        # Who comes here after a silence, to replace a connection, has waited once already.
        patience = min(patience, CONNECT_SECONDS)
    until = None if patience is None else time.monotonic() + patience
    wait_until(connection, until, getattr(connection, "is_over", None))


def wait_until(
    connection: extensions.connection,
    deadline: float | None,
    is_over: Callable[[], bool] | None = None,
) -> None:
    """Waits for the server until the deadline, then raises OperationalError.

    Once `is_over`, the server is asked to end the statement, which raises QueryCanceled.
    """
    poller = select.poll()
    asking: threading.Thread | None = None
    while (state := connection.poll()) != extensions.POLL_OK:
        if is_over and not asking and is_over():
            asking, deadline = cancel(connection), time.monotonic() + CANCEL_SECONDS
        poller.register(connection, WAIT_FOR[state])
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        looks = bool(is_over) and not asking and (left is None or left > LOOK_SECONDS)
        ready = poller.poll(LOOK_SECONDS * 1000 if looks else left and left * 1000)
        if not ready and not looks:
            raise Silence("the database server did not answer in time")
    if asking:
        settled(asking)


def cancel(connection: extensions.connection) -> threading.Thread:
    """Asks the server to end what runs; on a thread, since a stalled server never says yes."""
    asking = threading.Thread(target=connection.cancel, daemon=True)
    asking.start()
    return asking


def settled(asking: threading.Thread) -> None:
    """Waits until a cancellation has been taken: later it would hit another statement."""
    asking.join(CANCEL_SECONDS)
    if asking.is_alive():
        raise Silence("the database server did not end a statement in time")


class Silence(OperationalError):
    """The server did not answer before the deadline."""


extensions.set_wait_callback(wait)
