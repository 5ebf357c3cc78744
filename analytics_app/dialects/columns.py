"""Reading many numbers and bytes at once, where the two engines differ."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, cast, extract, func

from analytics_app.dialects import sqlite


def microseconds(
    connection: Connection, moment: ColumnElement[datetime] | Any
) -> ColumnElement[int]:
    """Returns SQL for the microseconds since 1970, exact."""
    if connection.dialect.name == "postgresql":
        return cast(extract("epoch", moment) * 1_000_000, BigInteger)
    return sqlite.whole_seconds(moment) * 1_000_000 + cast(func.substr(moment, 21, 6), BigInteger)
