"""What was asked of the platform and what it answered, kept for judging afterwards."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["acknowledged", "refused", "unknown"]
LOST_CONNECTION = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as a client saw it; status 0 is a connection that broke or timed out."""

    service: str
    status: int
    began: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing somebody wanted done, over all tries; `unknown` may or may not have happened."""

    kind: str
    who: str
    what: str
    outcome: Outcome
    ended: float


@dataclass(frozen=True, slots=True)
class Reading:
    """A report's count of one event type, between two moments."""

    event_type: str
    count: int
    began: float
    ended: float


@dataclass(slots=True)
class History:
    """Everything that happened during one fault; safe to write from all threads."""

    answers: list[Answer] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    attempts: list[tuple[str, float]] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def attempt(self, event_type: str, count: int = 1) -> None:
        """Notes that events are about to be sent for the first time."""
        with self.lock:
            self.attempts += [(event_type, time.monotonic())] * count

    def done(self, kind: str, who: str, what: Iterable[str], outcome: Outcome) -> None:
        """Notes what became of some deeds."""
        now = time.monotonic()
        with self.lock:
            self.deeds += [Deed(kind, who, each, outcome, now) for each in what]

    def answered(self, service: str, status: int, began: float) -> None:
        with self.lock:
            self.answers.append(Answer(service, status, began, time.monotonic() - began))

    def read(self, event_type: str, count: int, began: float) -> None:
        with self.lock:
            self.readings.append(Reading(event_type, count, began, time.monotonic()))

    def shown_to_the_wrong_person(self, complaint: str) -> None:
        with self.lock:
            self.foreign.append(complaint)

    def of(self, kind: str, *outcomes: Outcome) -> list[Deed]:
        """Returns the deeds of a kind, all or those with one of the outcomes."""
        wanted = outcomes or ("acknowledged", "refused", "unknown")
        return [deed for deed in self.deeds if deed.kind == kind and deed.outcome in wanted]

    def failures(self, since: float = 0) -> list[Answer]:
        """Returns the answers that no client can be content with."""
        return [
            each
            for each in self.answers
            if each.began >= since and (each.status == LOST_CONNECTION or each.status >= 500)
        ]

    def p99(self, start: float, end: float, without: Collection[str] = ()) -> float | None:
        """Returns the 99th percentile of the seconds that answers between two moments took.

        Those of the services named are left out; None if no other service answered.
        """
        took = sorted(
            each.seconds
            for each in self.answers
            if each.service not in without
            and each.began < end
            and start < each.began + each.seconds
        )
        return took[int(len(took) * 0.99)] if took else None

    def summary(self) -> str:
        """Returns in one line what people saw."""
        failed = self.failures()
        if not failed:
            slowest = max((each.seconds for each in self.answers), default=0)
            return f"{len(self.answers)} requests, none failed, slowest {slowest:.1f} s"
        kinds = Counter((each.service, each.status) for each in failed)
        parts = [
            f"{service} {status or 'broken off'} ×{count}"
            for (service, status), count in sorted(kinds.items())
        ]
        slowest = max(each.seconds for each in self.answers)
        return f"{len(self.answers)} requests: {', '.join(parts)}; slowest {slowest:.1f} s"
