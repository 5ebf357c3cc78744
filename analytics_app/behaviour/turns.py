"""Behaviour reports give way to ingest: while it is busy they take turns, a tenth of the time.

Such a report is a second of pure computing where the day's events are many. On a machine
that is at its limit with events, four people who look at reports would take most of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from analytics_app.deadlines import Deadline
from chassis.errors import Unavailable

BUSY = 0.25  # of the time, under way to the database with events
SHARE = 0.1  # of one processor, for each worker's reports
TOO_BUSY = "So many events are coming in that this must wait: try again soon."


class Turns:
    """Lets reports begin; `pressure` tells which share of the last second ingest was busy."""

    def __init__(self, pressure: Callable[[], float]) -> None:
        self.pressure = pressure
        self.lock = Lock()
        self.free_at = 0.0

    @contextmanager
    def turn(self, deadline: Deadline) -> Iterator[None]:
        """Waits for the report's turn, if there is need to; raises Unavailable at the deadline."""
        if self.pressure() < BUSY:
            yield
            return
        self.wait(deadline)
        begun = time.thread_time()
        try:
            yield
        finally:
            took = time.thread_time() - begun
            self.free_at = time.monotonic() + took * (1 / SHARE - 1)
            self.lock.release()

    def wait(self, deadline: Deadline) -> None:
        if not self.lock.acquire(timeout=deadline.left):
            raise Unavailable(TOO_BUSY, retry_after=5)
        if self.free_at > deadline.at:
            self.lock.release()
            raise Unavailable(TOO_BUSY, retry_after=5)
        time.sleep(max(0.0, self.free_at - time.monotonic()))
