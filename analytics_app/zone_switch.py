"""Keeps `counts_day` in the reporting zone: rebuilt from `counts` when the setting changes."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, delete, func, select, text, update

from analytics_app import dialects
from analytics_app.models import Bookkeeping, Count, DayCount
from analytics_app.zones import day_number, first_quarter
from chassis.database import transaction


def keep_days_in(db: SQLAlchemy, zone: str) -> bool:
    """Rebuilds the daily counts if they are in another zone; returns whether it did.

    Until they are ready, reports read the quarters, and writers count in the new zone.
    """
    dialect = dialects.of(db.engine)
    with transaction(db.session):
        kept = db.session.scalars(select(Bookkeeping).with_for_update()).one()
        if kept.reporting_zone == zone and kept.days_ready:
            return False
        kept.reporting_zone, kept.days_ready = zone, False
        db.session.flush()
        older = dialect.mark(db.session.connection())
    dialect.wait_out(db.session, older)
    with transaction(db.session):
        rebuild_days(db.session.connection(), ZoneInfo(zone))
        db.session.execute(update(Bookkeeping).values(days_ready=True))
    return True


def rebuild_days(connection: Connection, zone: ZoneInfo) -> None:
    """Replaces all daily counts by the sums of their quarters, with writers kept out."""
    dialects.of(connection.engine).unhurried(connection)
    dialects.of(connection.engine).lock_table(connection, DayCount.__tablename__)
    connection.execute(delete(DayCount))
    first, last = connection.execute(select(func.min(Count.quarter), func.max(Count.quarter))).one()
    if first is not None:
        fill_days(connection, zone, day_number(first, zone), day_number(last, zone))


def fill_days(connection: Connection, zone: ZoneInfo, first: int, last: int) -> None:
    """Fills the days `[first, last]`, which must be empty, from the quarters."""
    slot = dialects.of(connection.engine).KEPT_SLOT
    for since in range(first, last + 1, 500):
        days = range(since, min(since + 500, last + 1))
        rows = ", ".join(
            f"({day}, {first_quarter(day, zone)}, {first_quarter(day + 1, zone)})" for day in days
        )
        # Whole numbers alone are written into the SQL.
        connection.execute(
            text(
                f"WITH days (day, first, last) AS (VALUES {rows}) "  # noqa: S608  # nosec B608
                "INSERT INTO counts_day (day, event_type, slot, count) "
                f"SELECT d.day, c.event_type, {slot}, sum(c.count) FROM days d "
                "JOIN counts c ON c.quarter >= d.first AND c.quarter < d.last "
                "GROUP BY d.day, c.event_type HAVING sum(c.count) <> 0"
            )
        )
