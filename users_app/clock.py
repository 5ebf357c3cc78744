"""The one place that asks for the time, so that tests can move it."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session, scoped_session


def now() -> datetime:
    """Returns the present moment in UTC."""
    return datetime.now(UTC)


def database_now(session: Session | scoped_session[Any]) -> datetime:
    """Returns the present moment by the database's clock, the same for all servers.

    SQLite has none: all its processes share the machine's.
    """
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    # Not `now()`, which is when the transaction began: before it waited for its locks.
    moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return moment


def uuid7(moment: datetime) -> UUID:
    """Returns a UUID of version 7: its first 48 bits are the moment in milliseconds."""
    milliseconds = int(moment.timestamp() * 1000) & (2**48 - 1)
    value = milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64
    return UUID(int=value | 0b10 << 62 | secrets.randbits(62))
