"""How long to wait after trouble: twice as long each time, with jitter, up to five minutes."""

from __future__ import annotations

import random

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 300.0


def pause(failures: int) -> float:
    """Returns the seconds to wait after so many failures before this one."""
    doubled = FIRST_SECONDS * 2.0 ** min(failures, 20)
    # Jitter for relays that were stopped together, not for secrets.
    return min(doubled, LONGEST_SECONDS) * random.uniform(0.5, 1.0)  # noqa: S311
