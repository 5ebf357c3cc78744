"""Admission control: how many behaviour reports are computed at once, and for whom.

Two at a time for one account or key; the next wait. The same question under way is computed
once. While ingest is busy, reports take turns, a tenth of the time: such a report is a second
of pure computing where the day's events are many, and on a machine that is at its limit with
events, four people who look at reports would take most of it.

Each worker process counts for itself.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition, Lock
from typing import Any

from analytics_app.deadlines import Deadline
from chassis.errors import Problem, TooManyRequests, Unavailable

BUSY = 0.25  # of the time, under way to the database with events
SHARE = 0.1  # of one processor, for each worker's reports
MAX_WAITING = 5  # requests of one worker, which has eight threads
LOOK_SECONDS = 0.1
TOO_BUSY = "So many events are coming in that this must wait: try again soon."


@dataclass(slots=True)
class Computation:
    """A question under way, and what came of it: an answer, an error, or neither.

    What it reads was stored before `reads_at`, a moment of the monotonic clock.
    """

    reads_at: float = math.inf
    is_over: bool = False
    answer: Any = None
    error: Exception | None = None

    def begin_reading(self) -> None:
        """Notes that what is stored from now on may be missing."""
        self.reads_at = time.monotonic()


Compute = Callable[[Computation], Any]


class AdmissionControl:
    """Lets reports begin; `pressure` tells which share of the last second ingest was busy."""

    def __init__(self, pressure: Callable[[], float], at_once: int) -> None:
        self.pressure = pressure
        self.at_once = at_once
        self.changed = Condition()
        self.running: Counter[str] = Counter()
        self.waiting = 0
        self.under_way: dict[Hashable, Computation] = {}
        self.turns = Lock()
        self.free_at = 0.0

    def once(self, question: Hashable, deadline: Deadline, compute: Compute) -> Any:
        """Returns the answer, computed by whoever asks first; raises its error.

        An answer is given to whoever asked before it began to read, so that it holds all that
        was stored before it was asked for; those who ask later share the next one. An error is
        given to all who wait: one after the other they would find the same. If it was given up,
        since its client went away or found no place, the next one computes.
        """
        asked_at = time.monotonic()
        while (found := self.begun(question)) is not None:
            self.wait_out(found, deadline)
            if found.error:
                raise found.error
            if found.answer is not None and found.reads_at >= asked_at:
                return found.answer
        return self.computed(question, deadline, compute)

    def begun(self, question: Hashable) -> Computation | None:
        """Returns the question's computation; None if it is the caller who begins it now."""
        with self.changed:
            if found := self.under_way.get(question):
                return found
            self.under_way[question] = Computation()
            return None

    def wait_out(self, found: Computation, deadline: Deadline) -> None:
        with self.changed:
            self.wait_for(lambda: found.is_over, deadline, deadline.refusal)

    def computed(self, question: Hashable, deadline: Deadline, compute: Compute) -> Any:
        mine = self.under_way[question]
        try:
            mine.answer = compute(mine)
            return mine.answer
        except Exception as error:
            if not deadline.gone and not isinstance(error, TooManyRequests):
                mine.error = error
            raise
        finally:
            with self.changed:
                mine.is_over = True
                del self.under_way[question]
                self.changed.notify_all()

    @contextmanager
    def admit(self, who: str, deadline: Deadline) -> Iterator[None]:
        """Waits for one of the places of an account or key, and for a turn while it is busy.

        Raises TooManyRequests or Unavailable at the deadline.
        """
        with self.changed:
            self.wait_for(lambda: self.running[who] < self.at_once, deadline, self.all_taken)
            self.running[who] += 1
        try:
            with self.turn(deadline):
                yield
        finally:
            with self.changed:
                self.running[who] -= 1
                self.running += Counter()  # forgets who has none
                self.changed.notify_all()

    def wait_for(
        self, holds: Callable[[], bool], deadline: Deadline, refusal: Callable[[], Problem]
    ) -> None:
        """Waits until something holds; raises at the deadline, or at once where many wait."""
        if holds():
            return
        if self.waiting >= MAX_WAITING:
            raise self.all_taken()
        self.waiting += 1
        try:
            while not self.changed.wait_for(holds, LOOK_SECONDS):
                if deadline.is_over():
                    raise refusal()
        finally:
            self.waiting -= 1

    def all_taken(self) -> Problem:
        limit = f"{self.at_once} at a time for one account or key (MAX_REPORTS_AT_ONCE)"
        said = f"Too many reports are being computed: {limit}, and some more wait."
        return TooManyRequests(said, retry_after=5)

    @contextmanager
    def turn(self, deadline: Deadline) -> Iterator[None]:
        """Waits for the report's turn, if there is need to; raises Unavailable at the deadline."""
        if self.pressure() < BUSY:
            yield
            return
        self.wait_for_turn(deadline)
        begun = time.thread_time()
        try:
            yield
        finally:
            took = time.thread_time() - begun
            self.free_at = time.monotonic() + took * (1 / SHARE - 1)
            self.turns.release()

    def wait_for_turn(self, deadline: Deadline) -> None:
        if not self.turns.acquire(timeout=deadline.left):
            raise Unavailable(TOO_BUSY, retry_after=5)
        if self.free_at > deadline.at:
            self.turns.release()
            raise Unavailable(TOO_BUSY, retry_after=5)
        time.sleep(max(0.0, self.free_at - time.monotonic()))
