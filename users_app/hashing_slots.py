"""Admission to hashing: a few at a time, in the order they came, and not all for one address."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from chassis.client_address import throttle_key
from chassis.errors import TooManyRequests

MAX_WAIT_SECONDS = 2.0
WAITING_PER_SLOT = 4
# For one address, running and waiting: whoever comes from elsewhere waits for two hashes.
PLACES_PER_SLOT_AND_ADDRESS = 2


class HashingSlots:
    """At most `slots` hashes run at a time in this process; the surplus waits its turn.

    It waits up to 2 s, and only so many wait that threads are left for everything else. One
    address (IPv6: one /64) has at most its share of the places. Beyond: TooManyRequests.
    """

    def __init__(self, slots: int) -> None:
        self.free = slots
        self.places = slots * (1 + WAITING_PER_SLOT)
        self.places_for_one = slots * PLACES_PER_SLOT_AND_ADDRESS
        self.in_flight: Counter[str] = Counter()
        self.waiting: deque[object] = deque()
        self.changed = Condition()

    @contextmanager
    def slot(self, address: str) -> Iterator[None]:
        """Holds one slot; raises TooManyRequests at once, or after a wait in vain."""
        sender = throttle_key(address)
        with self.changed:
            self.admit(sender)
            try:
                self.wait_for_turn()
            except BaseException:
                self.leave(sender)
                raise
        try:
            yield
        finally:
            with self.changed:
                self.free += 1
                self.leave(sender)

    def admit(self, sender: str) -> None:
        if self.in_flight[sender] >= self.places_for_one:
            raise TooManyRequests(
                "Too many sign-ins at once from here: try again in a moment.", retry_after=2
            )
        if self.in_flight.total() >= self.places:
            raise too_busy()
        self.in_flight[sender] += 1

    def wait_for_turn(self) -> None:
        turn = object()
        self.waiting.append(turn)
        try:
            if not self.changed.wait_for(lambda: self.is_next(turn), MAX_WAIT_SECONDS):
                raise too_busy()
            self.free -= 1
        finally:
            self.waiting.remove(turn)
            self.changed.notify_all()

    def is_next(self, turn: object) -> bool:
        return self.free > 0 and self.waiting[0] is turn

    def leave(self, sender: str) -> None:
        self.in_flight[sender] -= 1
        if not self.in_flight[sender]:
            del self.in_flight[sender]
        self.changed.notify_all()


def too_busy() -> TooManyRequests:
    return TooManyRequests("Too many sign-ins at once: try again in a moment.", retry_after=2)
