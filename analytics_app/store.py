"""The way to the database for ingest: connections of its own, bounded waiting."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, select

from analytics_app.dialects.rows import Row, Stored
from analytics_app.listing import answered
from analytics_app.models import Bookkeeping, Event, Tombstone
from analytics_app.writers import Writers
from chassis.errors import FieldError


@dataclass(slots=True)
class Refusal:
    """Why a row stayed out: erased, from before `dropped_before`, or there already."""

    erased: bool = False
    dropped_before: datetime | None = None


class Store:
    """Stores rows, and says why some stayed out."""

    def __init__(self, engine: Engine, writers: Writers) -> None:
        self.engine = engine
        self.writers = writers

    def one(self, row: Row, *, trusted: bool) -> Stored:
        """Stores one event; returns its number, or that it stayed out."""
        return self.writers.together([row], time.monotonic(), trusted=trusted)

    def together(self, rows: Sequence[Row], since: float) -> list[int | None]:
        """Stores programs' single events in one transaction.

        Returns each one's number, None if it stayed out.
        """
        stored = self.writers.together(rows, since)
        return [stored.ids.get(position) for position in range(len(rows))]

    def many(self, rows: Sequence[Row], *, trusted: bool) -> Stored:
        """Stores the sorted rows; returns which of them stayed out."""
        return self.writers.many(rows, trusted=trusted)

    def refusals(self, rows: Sequence[Row]) -> list[Refusal]:
        """Returns for each row that stayed out why it did."""
        if not rows:
            return []
        with self.engine.connect() as connection:
            dropped = connection.scalars(select(Bookkeeping.dropped_before)).one()
            erased = tombstones(connection, {row.actor for row in rows})
        return [refusal(row, dropped, erased.get(row.actor)) for row in rows]

    def no_partition(self, *, trusted: bool) -> FieldError:
        """Returns what to say of an event for which no partition may be made."""
        limits = self.writers.partitions[trusted]
        if trusted:
            said = f"one request makes at most {limits.a_request} (MAX_PARTITIONS_PER_REQUEST)"
            return FieldError("created_at", f"needs a further partition, and {said}: send it again")
        said = f"accounts without events:write have at most {limits.a_day} made in a UTC day"
        name = "(MAX_PARTITIONS_BY_USERS_A_DAY)"
        return FieldError("created_at", f"needs a further partition, and {said} {name}")

    def stored_like(self, row: Row) -> dict[str, Any] | None:
        """Returns the stored event of the row's identity; None if it was erased just now."""
        chosen = select(Event.__table__).where(
            Event.actor == row.actor,
            Event.created_at == row.created_at,
            Event.event_id == row.event_id,
        )
        with self.engine.connect() as connection:
            found = connection.execute(chosen).one_or_none()
        return answered(found) if found else None


def tombstones(connection: Connection, actors: set[int]) -> dict[int, datetime]:
    """Returns from when on events are taken of those actors who were erased."""
    found: dict[int, datetime] = {}
    pending = iter(actors)
    while some := list(islice(pending, 500)):
        chosen = select(Tombstone.actor, Tombstone.erased_before).where(Tombstone.actor.in_(some))
        found.update(connection.execute(chosen).tuples().all())
    return found


def refusal(row: Row, dropped: datetime | None, erased_before: datetime | None) -> Refusal:
    if dropped and row.created_at < dropped:
        return Refusal(dropped_before=dropped)
    return Refusal(erased=bool(erased_before and row.created_at < erased_before))
