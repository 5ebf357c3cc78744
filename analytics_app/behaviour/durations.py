"""Lengths of time as people write them."""

from __future__ import annotations

import re

from chassis.errors import FieldError, Invalid

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
WRITTEN = re.compile(r"(\d{1,9})([smhdw]?)", re.ASCII)
LONGEST = 366 * 86_400


def seconds_of(given: int | str, field: str) -> int:
    """Returns the seconds; raises Invalid for what is no length, or over a year."""
    match = WRITTEN.fullmatch(str(given).strip())
    seconds = int(match[1]) * SECONDS[match[2] or "s"] if match else 0
    if not 1 <= seconds <= LONGEST:
        said = "must be seconds, or a length such as 30m, 24h or 7d, up to 366d"
        raise Invalid([FieldError(field, said)])
    return seconds
