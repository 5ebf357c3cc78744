"""Connections that don't wait for ever: a server that is stopped or cut off says nothing.

PostgreSQL's own timeouts end a statement on a server that runs. Against one that does not,
the client must keep the time: psycopg2 lets it, by a callback that waits in its place.
"""

from __future__ import annotations

import select
import time

from psycopg2 import OperationalError, extensions

CONNECT_SECONDS = 1.0
WAIT_FOR = {extensions.POLL_READ: select.POLLIN, extensions.POLL_WRITE: select.POLLOUT}


def patient(seconds: float) -> type[extensions.connection]:
    """Returns a kind of connection that raises OperationalError after so long a silence."""
    return type("PatientConnection", (extensions.connection,), {"patience": seconds})


def wait(connection: extensions.connection) -> None:
    """Waits for the server, no longer than the connection's patience if it has some."""
    patience = getattr(connection, "patience", None)
    if patience is not None and connection.status == extensions.STATUS_SETUP:
        # Who comes here after a silence, to replace a connection, has waited once already.
        patience = min(patience, CONNECT_SECONDS)
    wait_until(connection, None if patience is None else time.monotonic() + patience)


def wait_until(connection: extensions.connection, deadline: float | None) -> None:
    """Waits for the server until the deadline, then raises OperationalError."""
    poller = select.poll()
    while (state := connection.poll()) != extensions.POLL_OK:
        poller.register(connection, WAIT_FOR[state])
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if not poller.poll(left):
            raise Silence("the database server did not answer in time")


class Silence(OperationalError):
    """The server did not answer before the deadline."""


extensions.set_wait_callback(wait)
