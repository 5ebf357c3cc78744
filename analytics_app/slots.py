"""Folds the counting slots of closed days: writers no longer meet there."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any, cast

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import ColumnElement, Connection, Table, func, select

from analytics_app import counting, dialects
from analytics_app.models import Count, DayCount
from analytics_app.zones import QUARTERS_A_DAY, quarter_of
from chassis.database import transaction

CLOSED_AFTER = timedelta(days=2)
AT_ONCE = 500


def fold(db: SQLAlchemy, now: datetime) -> int:
    """Folds all slots of days that closed; returns how many rows went.

    One transaction for each day: a writer of a late event waits for moments only.
    """
    closed = quarter_of(now - CLOSED_AFTER) // QUARTERS_A_DAY
    folded = fold_table(db, cast(Table, Count.__table__), "quarter", QUARTERS_A_DAY, closed)
    return folded + fold_table(db, cast(Table, DayCount.__table__), "day", 1, closed)


def fold_table(db: SQLAlchemy, table: Table, unit: str, width: int, closed: int) -> int:
    kept = dialects.of(db.engine).KEPT_SLOT
    column = table.c[unit]
    oldest = select(func.min(column)).where(table.c.slot != kept, column < closed * width)
    folded = 0
    while (first := unhurried(db).scalar(oldest)) is not None:
        day = first // width
        with transaction(db.session):
            folded += fold_rows(db, table, unit, (day * width, (day + 1) * width), kept)
    db.session.rollback()
    return folded


def unhurried(db: SQLAlchemy) -> Connection:
    """Returns a connection whose statement may take its time: the folded slots are passed over."""
    connection = db.session.connection()
    dialects.of(db.engine).unhurried(connection)
    return connection


def fold_rows(db: SQLAlchemy, table: Table, unit: str, within: tuple[int, int], kept: int) -> int:
    connection = db.session.connection()
    dialects.of(db.engine).one_at_a_time(connection, counting.COUNTING)
    column = table.c[unit]
    spread = (column >= within[0], column < within[1], table.c.slot != kept)
    ordered = select(table).where(*spread).order_by(column, table.c.event_type, table.c.slot)
    rows: list[Any] = list(db.session.execute(ordered.with_for_update()))
    tally: Counter[tuple[int, str]] = Counter()
    for number, event_type, _, count in rows:
        tally[number, event_type] += count
    # These and no others: a late event may have come to a slot that was empty.
    counting.delete_rows(connection, unit, table, [tuple(row[:3]) for row in rows])
    counting.merge(connection, table, unit, tally)
    drop_zeros(connection, table, unit, column.between(within[0], within[1] - 1))
    return len(rows)


def drop_zeros(
    connection: Connection, table: Table, unit: str, within: ColumnElement[bool]
) -> None:
    """Deletes what the folded slots have brought to nothing."""
    key = table.c[unit], table.c.event_type
    sums = select(*key).where(within).group_by(*key).having(func.sum(table.c.count) == 0)
    while keys := connection.execute(sums.limit(AT_ONCE)).tuples().all():
        if not counting.drop_rows(connection, unit, table, keys):
            return
