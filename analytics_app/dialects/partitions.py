"""The partitions of `events` on PostgreSQL: months, or parts of one where months grow large.

`Execute` runs one statement and returns its rows; a caller brings its own connection.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from analytics_app.dialects.rows import PartitionLimits
from analytics_app.zones import EPOCH

Execute = Callable[[str], list[tuple[Any, ...]]]

LOCK = 7_041_776_002  # any constant: whoever makes or drops a partition holds it
BOUNDS = re.compile(r"FROM \('([^']+)'\) TO \('([^']+)'\)")
LARGE = 5_000_000

EXISTING = """
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), greatest(c.reltuples, 0)::bigint
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'events'::regclass
"""
UNLIMITED = PartitionLimits(1_000_000)
DROPPED = "SELECT dropped_before FROM bookkeeping"


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One partition `[start, end)`, with about how many rows it holds."""

    start: datetime
    end: datetime
    name: str = ""
    rows: int = 0


def existing(execute: Execute) -> list[Partition]:
    """Returns the partitions there are, oldest first; the session's zone must be UTC."""
    found = []
    for name, bounds, rows in execute(EXISTING):
        if match := BOUNDS.search(bounds):
            start, end = (datetime.fromisoformat(each) for each in match.groups())
            found.append(Partition(start.astimezone(UTC), end.astimezone(UTC), name, rows))
    return sorted(found)


def month_of(moment: datetime) -> datetime:
    """Returns the first moment of the UTC month that holds the moment."""
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def month_after(month: datetime) -> datetime:
    return month_of(month + timedelta(days=32))


def ensure(
    execute: Execute, moments: Iterable[datetime], limits: PartitionLimits = UNLIMITED
) -> set[datetime]:
    """Makes the partitions that hold the moments, where none does, each in a transaction.

    Nothing is made for what retention has dropped. New partitions are attached, which lets
    readers and writers of the others go on. Returns the moments that stay without one
    because of the limits.
    """
    dropped, there = execute(DROPPED)[0][0], existing(execute)
    room, left = limits.a_request, set()
    for moment in sorted(moments):
        if covered(there, moment) or (dropped and moment < dropped):
            continue
        made = make(execute, moment, limits.a_day) if room else None
        if made is None:
            room = 0
            left.add(moment)
        else:
            there, room = existing(execute), room - made
    return left


def covered(there: Iterable[Partition], moment: datetime) -> bool:
    return any(each.start <= moment < each.end for each in there)


def make(execute: Execute, moment: datetime, a_day: int | None) -> int | None:
    """Makes the partition that holds the moment, and commits it.

    Returns how many were made, 0 where somebody else just did; None if the day's are used up.
    """
    execute("BEGIN")
    try:
        execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        dropped, there = execute(DROPPED)[0][0], existing(execute)
        needed = not covered(there, moment) and (dropped is None or moment >= dropped)
        may = not needed or a_day is None or uses_one(execute, a_day)
        if needed and may:
            attach(execute, around(moment, there, dropped))
        execute("COMMIT")
        return int(needed) if may else None
    except BaseException:
        with contextlib.suppress(Exception):  # a connection that is gone has rolled back
            execute("ROLLBACK")
        raise


def uses_one(execute: Execute, a_day: int) -> bool:
    """Counts one of the partitions that may be made today; returns False if none is left."""
    day = datetime.now(UTC).date().toordinal() - EPOCH
    # Whole numbers alone are written into the SQL.
    used = execute(
        "INSERT INTO daily_use AS u (day, what, actor, used) "  # nosec B608
        f"SELECT {day}, 'partitions', 0, 1 WHERE {a_day} > 0 "
        "ON CONFLICT (day, what, actor) DO UPDATE SET used = u.used + 1 "
        f"WHERE u.used < {a_day} RETURNING used"
    )
    return bool(used)


def around(moment: datetime, there: list[Partition], dropped: datetime | None) -> Partition:
    """Returns the widest partition around the moment within its piece of the month."""
    start, end = piece(moment, pieces_wanted(there))
    if dropped:
        start = max(start, dropped.astimezone(UTC))
    start = max([start, *(each.end for each in there if each.end <= moment)])
    end = min([end, *(each.start for each in there if each.start > moment)])
    return Partition(start, end, f"events_{start:%Y%m%d}_{end:%Y%m%d}")


def pieces_wanted(there: list[Partition]) -> int:
    """Returns in how many pieces a month is to be cut, by the fullest of recent partitions."""
    recent = sorted(there)[-4:]
    a_day = max((each.rows / (each.end - each.start).days for each in recent), default=0)
    return min(30, 1 + int(a_day * 30 / LARGE))


def piece(moment: datetime, pieces: int) -> tuple[datetime, datetime]:
    """Returns the piece of the month, cut at whole days, that holds the moment."""
    month = month_of(moment)
    after = month_after(month)
    days = (after - month).days
    cuts = sorted({month + timedelta(days=days * cut // pieces) for cut in range(pieces)})
    start = max(cut for cut in cuts if cut <= moment)
    return start, min([cut for cut in cuts if cut > moment], default=after)


def attach(execute: Execute, partition: Partition) -> None:
    execute(f"CREATE TABLE {partition.name} (LIKE events)")
    execute(f"ALTER TABLE {partition.name} SET (autovacuum_vacuum_insert_scale_factor = 0.05)")
    execute(
        f"ALTER TABLE events ATTACH PARTITION {partition.name} "
        f"FOR VALUES FROM ('{partition.start.isoformat()}') TO ('{partition.end.isoformat()}')"
    )
