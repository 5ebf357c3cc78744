"""What one thread learns of a database that doesn't answer, the others need not wait for."""

from __future__ import annotations

import time

from chassis.errors import Unavailable

BELIEVED_SECONDS = 1.0


class Outage:
    """Remembers for a second that the database did not answer."""

    def __init__(self) -> None:
        self.noted = float("-inf")

    def note(self) -> None:
        """Says that it did not answer just now."""
        self.noted = time.monotonic()

    def is_recent(self) -> bool:
        """Whether somebody waited in vain within the last second."""
        return time.monotonic() - self.noted < BELIEVED_SECONDS


def not_answering() -> Unavailable:
    """Returns the problem that a caller gets."""
    return Unavailable("The database is not answering right now.", retry_after=2)
