"""Connections that don't wait for ever: a server that is stopped or cut off says nothing.

PostgreSQL's own timeouts end a statement on a server that runs. Against one that does not,
the client must keep the time: psycopg2 lets it, by a callback that waits in its place.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import psycopg2
from psycopg2 import Error, OperationalError, extensions

CONNECT_SECONDS = 1.0  # who answers a request
COMMAND_CONNECT_SECONDS = 10.0  # a command, as a migration: nobody waits for its answer
QUIET_SECONDS = 0.7
PROBE_SECONDS = 1.0
GLANCE_SECONDS = 0.05
PROBE_AGAIN_SECONDS = 1.0
LOOK_SECONDS = 0.1
CANCEL_SECONDS = 1.0
WAIT_FOR = {extensions.POLL_READ: select.POLLIN, extensions.POLL_WRITE: select.POLLOUT}


class Pulse:
    """Whether one server answers anybody, as one probe at a time finds out for a whole process.

    Who has heard nothing for a while asks. A slow statement is told from a silent server by a
    question on a connection of its own; and who hears something meanwhile speaks for the server.
    `next` is asked at the same time where it is the one to turn to.
    """

    next: Pulse | None = None

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.parameters = parameters
        self.lock = threading.Lock()
        # When somebody heard something, a probe ended, and one ended in vain.
        self.heard = self.probed = self.silent = float("-inf")

    def is_silent(self) -> bool:
        """Whether it was found silent, and nobody has heard it since; who asks has it probed."""
        if self.silent <= self.heard:
            return False
        self.begin_probe()
        return True

    def note_silence(self, since: float) -> None:
        """Says that nothing came since then, where something had to, unless others heard it."""
        if self.heard < since:
            self.silent = time.monotonic()

    def is_missed(self, quiet_since: float) -> bool:
        """Whether the server is known to be silent; who has waited for long has it probed."""
        if self.is_silent():
            return True
        if time.monotonic() - quiet_since > QUIET_SECONDS:
            self.begin_probe()
            if self.next:
                self.next.begin_probe()
        return False

    def begin_probe(self) -> None:
        """Has a thread ask, unless one is at it or has just been."""
        if time.monotonic() - self.probed > PROBE_AGAIN_SECONDS and self.lock.acquire(
            blocking=False
        ):
            try:
                threading.Thread(target=self.probe, name="pulse", daemon=True).start()
            except RuntimeError:  # no thread can be had
                self.lock.release()

    def probe(self) -> None:
        """Asks the server, and notes whether anybody hears a word from it in time."""
        begun = time.monotonic()
        try:
            ask(self.parameters, begun + PROBE_SECONDS)
            self.heard = time.monotonic()
        except Silence:
            self.note_silence(begun)
        except Error:  # it answers, if only to refuse
            self.heard = time.monotonic()
        finally:
            self.probed = time.monotonic()
            self.lock.release()


def ask(parameters: Mapping[str, Any], deadline: float) -> None:
    """Connects and has one word from the server, or raises; a pooler is asked beyond itself."""
    connection = psycopg2.connect(**parameters, async_=True)
    with closing(connection):
        wait_until(connection, deadline)
        connection.cursor().execute("SELECT 1")
        wait_until(connection, deadline)


def patient(seconds: float, pulse: Pulse | None = None) -> type[extensions.connection]:
    """Returns a kind of connection that raises OperationalError after so long a silence.

    With a pulse it does so sooner where the whole server is silent.
    """
    return type(
        "PatientConnection", (extensions.connection,), {"patience": seconds, "pulse": pulse}
    )


def wait(connection: extensions.connection) -> None:
    """Waits for the server, no longer than the connection's patience if it has some.

    One without is a command's and has longer for connecting. Once the connection's `is_over`
    says so, the statement that runs is ended.
    """
    begun, connects = time.monotonic(), connection.status == extensions.STATUS_SETUP
    is_over, pulse = getattr(connection, "is_over", None), getattr(connection, "pulse", None)
    patience = getattr(connection, "patience", None)
    connect_seconds = COMMAND_CONNECT_SECONDS if patience is None else CONNECT_SECONDS
    bounds = [patience]
    bounds += [connect_seconds] if connects else []
    bounds += [GLANCE_SECONDS] if pulse and pulse.is_silent() else []
    deadline = min((begun + each for each in bounds if each is not None), default=None)
    try:
        wait_until(connection, deadline, is_over, pulse)
    except Silence:
        if pulse and connects and time.monotonic() - begun >= CONNECT_SECONDS:
            pulse.note_silence(begun)  # it was as good as a probe
        raise


def wait_until(
    connection: extensions.connection,
    deadline: float | None,
    is_over: Callable[[], bool] | None = None,
    pulse: Pulse | None = None,
) -> None:
    """Waits for the server until the deadline or its pulse is missed, then raises Silence.

    Once `is_over`, the server is asked to end the statement, which raises QueryCanceled.
    """
    poller, quiet_since = select.poll(), time.monotonic()
    asking: threading.Thread | None = None
    while (state := connection.poll()) != extensions.POLL_OK:
        if is_over and not asking and is_over():
            asking, deadline = cancel(connection), time.monotonic() + CANCEL_SECONDS
        poller.register(connection, WAIT_FOR[state])
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        looks = bool(pulse or (is_over and not asking)) and (left is None or left > LOOK_SECONDS)
        ready = poller.poll(LOOK_SECONDS * 1000 if looks else left and left * 1000)
        if not ready and (not looks or (pulse and pulse.is_missed(quiet_since))):
            raise Silence("the database server did not answer in time")
        if ready and pulse and state == extensions.POLL_READ:
            quiet_since = pulse.heard = time.monotonic()
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
