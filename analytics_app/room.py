"""How many of a kind of record there may be."""

from __future__ import annotations

from sqlalchemy import Connection, FromClause, func, select

from analytics_app import dialects
from chassis.errors import Conflict


def need_room(connection: Connection, table: FromClause, most: int, what: str) -> None:
    """Raises Conflict if there are as many as there may be; until the end nobody adds another.

    `what` is the kind's plural; the setting is called after it.
    """
    dialects.of(connection.engine).one_at_a_time(connection, "adding")
    count = connection.execute(select(func.count()).select_from(table)).scalar_one()
    if count >= most:
        setting = "MAX_" + what.upper().replace(" ", "_")
        raise Conflict(f"There are {most:,} {what} already ({setting}): delete one first.")
