"""The one place that asks for the time, so that tests can move it."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from uuid import UUID


def now() -> datetime:
    """Returns the present moment in UTC."""
    return datetime.now(UTC)


def uuid7(moment: datetime) -> UUID:
    """Returns a UUID of version 7: its first 48 bits are the moment in milliseconds."""
    milliseconds = int(moment.timestamp() * 1000) & (2**48 - 1)
    value = milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64
    return UUID(int=value | 0b10 << 62 | secrets.randbits(62))
