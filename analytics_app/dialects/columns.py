"""Reading many numbers and bytes at once, where the two engines differ."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, cast, extract, func


def microseconds(
    connection: Connection, moment: ColumnElement[datetime] | Any
) -> ColumnElement[int]:
    """Returns SQL for the microseconds since 1970, exact."""
    if connection.dialect.name == "postgresql":
        return cast(extract("epoch", moment) * 1_000_000, BigInteger)
    # strftime rounds to milliseconds, up to the next second: the fraction stays out of it.
    seconds = cast(func.strftime("%s", func.substr(moment, 1, 19)), BigInteger)
    return seconds * 1_000_000 + cast(func.substr(moment, 21, 6), BigInteger)
