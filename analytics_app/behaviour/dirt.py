"""Marks days whose events change after they were sealed, in the transaction that changes them.

Ingest does the same in its own statement (dialects/), for days up to the newest sealed one.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from analytics_app import dialects
from analytics_app.behaviour.models import DirtyDay


def mark(connection: Connection, days: Iterable[int]) -> None:
    """Marks the UTC days as dirty.

    A mark that is there already is written again: so whoever takes it off, to seal the day,
    waits for this transaction and then reads what it did.
    """
    table = DirtyDay.__table__
    adding = dialects.of(connection.engine).insert(table)
    again = adding.on_conflict_do_update(index_elements=["day"], set_={"day": adding.excluded.day})
    if rows := [{"day": day} for day in sorted(set(days))]:
        connection.execute(again, rows)
