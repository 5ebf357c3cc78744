"""How long a report may take: the statement timeout's other half, in the process itself."""

from __future__ import annotations

import time
from dataclasses import dataclass

from chassis.database import TOO_LONG
from chassis.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment of the monotonic clock, in seconds."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def check(self) -> None:
        """Raises Unavailable once the time is up."""
        if time.monotonic() > self.at:
            raise Unavailable(TOO_LONG, retry_after=5)
