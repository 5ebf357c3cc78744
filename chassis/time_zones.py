"""Time zones by name: those of the tz database's list, the same on every machine.

zoneinfo opens whatever file stands under a name: `right/UTC` counts leap seconds, `localtime`
is the machine's own, and on some file systems `europe/berlin` is found as well.
"""

from __future__ import annotations

from importlib import resources
from zoneinfo import ZoneInfo

EXAMPLE = "must be an IANA time zone such as Europe/Berlin"
NO_ZONES = {"Factory"}  # in the list, and means that nobody set a zone
NAMES = frozenset((resources.files("tzdata") / "zones").read_text().split()) - NO_ZONES


def zone_named(name: str) -> ZoneInfo:
    """Returns the zone; raises ValueError, with what to say, if the list has no such name."""
    if name not in NAMES:
        raise ValueError(EXAMPLE)
    return ZoneInfo(name)
