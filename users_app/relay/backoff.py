"""How long to leave analytics alone after trouble."""

from __future__ import annotations

from threading import Event

from chassis.telemetry import get_logger
from users_app.relay.pauses import pause
from users_app.relay.receiver import Receiver, Trouble

PROBE_SECONDS = 2.0
log = get_logger(__name__)


class Backoff:
    """Waits twice as long after each failure in a row, with jitter, up to five minutes.

    Retry-After is honoured. Past it, the receiver's /health is asked every 2 s, so that a
    long outage doesn't end five minutes late.
    """

    def __init__(self, receiver: Receiver, stop: Event) -> None:
        self.receiver = receiver
        self.stop = stop
        self.failures = 0

    def after(self, trouble: Trouble | None) -> None:
        """Waits as this outcome asks for: not at all after a delivery."""
        if trouble is None:
            self.failures = 0
            return
        seconds = max(self.next_pause(), trouble.retry_after)
        log.warning("delivery postponed", reason=trouble.reason, seconds=round(seconds, 1))
        self.wait(seconds, trouble.retry_after)

    def next_pause(self) -> float:
        self.failures += 1
        return pause(self.failures - 1)

    def wait(self, seconds: float, at_least: float) -> None:
        left = seconds
        if at_least:
            self.stop.wait(at_least)
            left -= at_least
        while left > 0 and not self.stop.is_set():
            self.stop.wait(min(left, PROBE_SECONDS))
            left -= PROBE_SECONDS
            if left > 0 and self.receiver.is_healthy():
                return
