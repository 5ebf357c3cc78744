"""Keeps `counts_day` in the reporting zone: rebuilt from `counts` when the setting changes."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, func, select, text, update

from analytics_app import counting, dialects, engines
from analytics_app.models import Bookkeeping, Count, DayCount
from analytics_app.zones import day_number
from chassis.database import transaction, writing


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
    with engines.for_erasures(db).connect() as connection:
        rebuild_days(connection, ZoneInfo(zone))
    with transaction(db.session):
        db.session.execute(update(Bookkeeping).values(days_ready=True))
    return True


def rebuild_days(connection: Connection, zone: ZoneInfo) -> None:
    """Makes all daily counts the sums of their quarters, by adding what they lack; commits.

    Writers go on: each statement sees what they count in a quarter and in its day, or neither.
    """
    with connection.begin():
        ends = select(func.min(Count.quarter), func.max(Count.quarter))
        quarters = connection.execute(ends).one()
        days = connection.execute(select(func.min(DayCount.day), func.max(DayCount.day))).one()
    known = [day_number(each, zone) for each in quarters if each is not None]
    known += [each for each in days if each is not None]
    if not known:
        return
    for rows in counting.days_as_values(zone, min(known), max(known)):
        with writing(connection):
            dialects.of(connection.engine).unhurried(connection)
            connection.execute(text(lacking(connection, rows)))
    every = DayCount.day.between(min(known), max(known))
    counting.drop_zeros(connection, "day", DayCount.__table__, every)


def lacking(connection: Connection, rows: str) -> str:
    """Returns SQL that adds to some days what their quarters hold beyond them."""
    slot = dialects.of(connection.engine).KEPT_SLOT
    # Whole numbers alone are written into the SQL; `WHERE true` ends the SELECT for SQLite.
    return (
        f"WITH days (day, first, last) AS (VALUES {rows}) "  # noqa: S608  # nosec B608
        "INSERT INTO counts_day (day, event_type, slot, count) "
        f"SELECT day, event_type, {slot}, sum(n) FROM ("
        "SELECT d.day, c.event_type, c.count AS n FROM days d "
        "JOIN counts c ON c.quarter >= d.first AND c.quarter < d.last "
        "UNION ALL SELECT k.day, k.event_type, -k.count FROM counts_day k "
        "JOIN days d ON d.day = k.day) AS compared WHERE true "
        "GROUP BY day, event_type HAVING sum(n) <> 0 ORDER BY day, event_type "
        "ON CONFLICT (day, event_type, slot) "
        "DO UPDATE SET count = counts_day.count + excluded.count"
    )
