"""Changes counts from outside of ingest: by what was erased, or found wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, FromClause, select

from analytics_app import dialects
from analytics_app.models import Bookkeeping, Count, DayCount
from analytics_app.zones import day_number

Tally = Mapping[tuple[int, str], int]


def add(connection: Connection, by_quarter: Tally) -> None:
    """Adds to the counts of (quarter, event type), and to those of their days."""
    kept = select(Bookkeeping.reporting_zone).with_for_update(read=True)
    zone = ZoneInfo(connection.execute(kept).scalar_one())
    by_day: Counter[tuple[int, str]] = Counter()
    for (quarter, event_type), n in by_quarter.items():
        by_day[day_number(quarter, zone), event_type] += n
    merge(connection, Count.__table__, "quarter", by_quarter)
    merge(connection, DayCount.__table__, "day", by_day)


def merge(connection: Connection, table: FromClause, unit: str, tally: Tally) -> None:
    """Adds in the order of the key, as every writer does."""
    dialect = dialects.of(connection.engine)
    rows = [
        {unit: number, "event_type": event_type, "slot": dialect.KEPT_SLOT, "count": n}
        for (number, event_type), n in sorted(tally.items())
    ]
    if not rows:
        return
    adding = dialect.insert(table)
    changed = adding.on_conflict_do_update(
        index_elements=[unit, "event_type", "slot"],
        set_={"count": table.c.count + adding.excluded.count},
    )
    connection.execute(changed, rows)
