"""Group commit in the process: calls that wait at the same time share one transaction.

While one group is on its way to the database, the next gathers. The first of each group
carries it (no thread of its own, no hand-over when nobody else is there).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Generic, TypeVar

from analytics_app.outage import not_answering
from chassis.errors import Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")

WAITING, LEADS, TAKEN, GAVE_UP = range(4)


class Ticket(Generic[Item, Answer]):
    """One caller's place in the queue."""

    __slots__ = ("answer", "bell", "error", "item", "state")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.state = WAITING
        self.answer: Answer | None = None
        self.error: BaseException | None = None
        self.bell = Lock()
        self.bell.acquire()


class Groups(Generic[Item, Answer]):
    """Runs `flush` over what has gathered, one group at a time.

    `flush` returns an answer for each item; what it raises reaches every caller of the
    group. A caller waits at most `patience` seconds, and not at all behind a group that
    has been under way for longer than `stalled` seconds: then Unavailable is raised.
    """

    def __init__(
        self,
        flush: Callable[[list[Item]], Sequence[Answer]],
        *,
        largest: int = 64,
        patience: float = 1.8,
        stalled: float = 1.0,
    ) -> None:
        self.flush = flush
        self.largest = largest
        self.patience = patience
        self.stalled = stalled
        self.lock = Lock()
        self.queue: list[Ticket[Item, Answer]] = []
        self.under_way_since: float | None = None

    def submit(self, item: Item) -> Answer:
        """Returns the item's answer once its group is through."""
        ticket: Ticket[Item, Answer] = Ticket(item)
        if self.enter(ticket) or self.leads_after_waiting(ticket):
            self.carry()
        if ticket.error is not None:
            raise ticket.error
        return ticket.answer  # type: ignore[return-value]

    def enter(self, ticket: Ticket[Item, Answer]) -> bool:
        """Queues the ticket; returns whether it is to carry a group right away."""
        with self.lock:
            since = self.under_way_since
            if since is None:
                self.under_way_since = time.monotonic()
            elif time.monotonic() - since > self.stalled:
                raise not_answering()
            self.queue.append(ticket)
            return since is None

    def leads_after_waiting(self, ticket: Ticket[Item, Answer]) -> bool:
        """Waits for the answer, or for the turn to carry the next group."""
        if ticket.bell.acquire(timeout=self.patience):
            return ticket.state == LEADS
        with self.lock:
            if ticket.state == LEADS:
                return True
            if ticket.state == WAITING:
                self.queue.remove(ticket)
            ticket.state = GAVE_UP
        raise not_answering()

    def carry(self) -> None:
        with self.lock:
            group = self.queue[: self.largest]
            del self.queue[: self.largest]
            for ticket in group:
                ticket.state = TAKEN
            self.under_way_since = time.monotonic()
        try:
            answers = self.flush([ticket.item for ticket in group])
            for ticket, answer in zip(group, answers, strict=True):
                ticket.answer = answer
        except BaseException as error:
            if isinstance(error, Unavailable):
                group += self.all_who_wait()
            for ticket in group:
                ticket.error = error
        self.hand_over()
        for ticket in group:
            ticket.bell.release()

    def all_who_wait(self) -> list[Ticket[Item, Answer]]:
        """Takes everybody out of the queue: they have waited once for what is not there."""
        with self.lock:
            waiting = self.queue[:]
            self.queue.clear()
            for ticket in waiting:
                ticket.state = TAKEN
        return waiting

    def hand_over(self) -> None:
        """Lets the first of those who wait carry the next group."""
        with self.lock:
            if self.queue:
                self.under_way_since = time.monotonic()
                self.queue[0].state = LEADS
                self.queue[0].bell.release()
            else:
                self.under_way_since = None
