"""Redis that may stop answering: asked with time-outs, and passed over while it does not."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Lock, Thread
from typing import Any, TypeVar

from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection
from redis.exceptions import ConnectionError, InvalidResponse, RedisError
from redis.retry import Retry

from chassis.telemetry import get_logger

LOOK_EVERY_SECONDS = 1.0
T = TypeVar("T")
log = get_logger(__name__)


class PassedOver(ConnectionError):
    """Redis was not asked, since it lately did not answer."""


class PromptConnection(Connection):
    """Connects within its time-out, the look-up of the name and all its addresses included."""

    def _connect(self) -> socket.socket:
        made: Future[socket.socket] = Future()
        Thread(target=self.make, args=(made,), name="redis connection", daemon=True).start()
        try:
            return made.result(self.socket_connect_timeout)
        except TimeoutError:
            made.add_done_callback(close_late)
            raise

    def make(self, made: Future[socket.socket]) -> None:
        try:
            made.set_result(super()._connect())  # type: ignore[no-untyped-call]
        except Exception as error:
            made.set_exception(error)


class PromptTlsConnection(SSLConnection, PromptConnection):
    """The same over TLS."""


CONNECTIONS = {"redis": PromptConnection, "rediss": PromptTlsConnection}


def close_late(made: Future[socket.socket]) -> None:
    with suppress(Exception):
        made.result().close()


def bounded(url: str, seconds: float) -> dict[str, Any]:
    """Returns the options of a client that waits so long for each step and tries once.

    By default the library waits for ever and tries four times.
    """
    scheme = url.partition(":")[0]
    kind = {"connection_class": CONNECTIONS[scheme]} if scheme in CONNECTIONS else {}
    return {
        **kind,
        "socket_connect_timeout": seconds,
        "socket_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
        # A greeting less to wait for at each new connection, than by the newer protocol, and no
        # library's name is told, which the app's user may not do.
        "protocol": 2,
        "driver_info": None,
    }


class RedisBreaker:
    """Opens at the first failure, so that nobody waits again; a thread finds out when to close.

    `probe` is what that thread tries, about once a second: it must do what the calls do, since a
    Redis that is full, read-only or still loading answers a ping. It raises while Redis is not
    well. Safe to make before a fork.
    """

    def __init__(self, purpose: str, probe: Callable[[], object]) -> None:
        self.purpose = purpose
        self.probe = probe
        self.is_open = False
        self.lock = Lock()
        self.thread: Thread | None = None

    def call(self, command: Callable[[], T]) -> T:
        """Returns what the command returns; raises RedisError, and at once while open."""
        if self.is_open:
            self.watch()
            raise PassedOver(f"Redis is passed over for {self.purpose}")
        try:
            return command()
        except Exception as error:  # what isn't Redis at all may confuse the client
            self.open(error)
            if isinstance(error, RedisError):
                raise
            raise InvalidResponse(str(error)) from error

    def open(self, error: Exception) -> None:
        if not self.is_open:
            self.is_open = True
            log.warning("redis is passed over", purpose=self.purpose, error=type(error).__name__)
        self.watch()

    def watch(self) -> None:
        """Has a thread of this process look for Redis; a fork leaves the parent's behind."""
        with self.lock:
            if self.is_open and not (self.thread and self.thread.is_alive()):
                self.thread = Thread(target=self.look, name="redis probe", daemon=True)
                self.thread.start()

    def look(self) -> None:
        while self.is_open:
            time.sleep(LOOK_EVERY_SECONDS)
            with suppress(Exception):  # nothing may end the thread
                self.probe()
                self.is_open = False
                log.info("redis is asked again", purpose=self.purpose)
