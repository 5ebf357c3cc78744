"""Ingest: events -> stored and counted in one transaction, each once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from analytics_app.batches import Parsed
from analytics_app.dialects.rows import Row
from analytics_app.intake import Intake, Sender, parsed_event, too_old
from analytics_app.metrics import Results
from analytics_app.schemas.events import EventIn
from analytics_app.store import Store
from chassis.errors import FieldError, Forbidden, Invalid
from chassis.schema import rfc3339


@dataclass(slots=True)
class Fate:
    """What became of one event of a batch that was not accepted."""

    index: int
    status: str
    errors: list[FieldError] = field(default_factory=list)


class Ingest:
    """The use cases of storing; one for each app."""

    def __init__(self, intake: Intake, store: Store, results: Results) -> None:
        self.intake = intake
        self.store = store
        self.results = results

    def one(self, data: bytes, sender: Sender) -> tuple[dict[str, Any] | None, bool]:
        """Stores one event; returns it as stored, and whether it is new. None: erased.

        Raises BadRequest, Invalid with all complaints, and Forbidden; commits.
        """
        try:
            event = parsed_event(data)
            row = self.single(event, sender)
            (number,) = self.store.together([row], time.monotonic())
            if number is None:
                return self.repeated(row), False
            self.results.add("accepted")
            return answered(row, number, event.get("metadata") or {}), True
        except (Invalid, Forbidden):
            self.results.add("rejected")
            raise

    def single(self, event: EventIn, sender: Sender) -> Row:
        """Returns one event as it is to be stored; raises Invalid and Forbidden."""
        if event.get("actor") is not None:
            raise Invalid([FieldError("actor", "is taken in batches only")])
        return self.intake.row(event, sender, datetime.now(UTC))

    def repeated(self, row: Row) -> dict[str, Any] | None:
        """Returns the event that is there already; None: it was erased."""
        why = self.store.refusals([row])[0]
        if why.dropped_before:
            raise Invalid([too_old("created_at", why.dropped_before)])
        found = None if why.erased else self.store.stored_like(row)
        self.results.add("duplicate" if found else "erased")
        return found

    def batch(self, events: Sequence[Parsed], sender: Sender) -> tuple[int, list[Fate]]:
        """Stores what may be stored; returns how many, and the fate of each other event."""
        now = datetime.now(UTC)
        places: dict[tuple[object, ...], int] = {}
        rows: list[Row] = []
        fates: list[Fate] = []
        for index, event in enumerate(events):
            judged = self.judged(event, sender, now)
            if not isinstance(judged, Row):
                fates.append(Fate(index, "rejected", judged))
            elif places.setdefault(judged[:3], index) != index:
                fates.append(Fate(index, "duplicate"))
            else:
                rows.append(judged)
        # Sorted, so that two writers of the same events never wait for each other in a ring.
        rows.sort()
        kept_out = self.kept_out(rows, sender)
        fates += self.fates(kept_out, places)
        fates.sort(key=lambda fate: fate.index)
        accepted = len(rows) - len(kept_out)
        self.results.add("accepted", accepted)
        for status, n in Counter(fate.status for fate in fates).items():
            self.results.add(status, n)
        return accepted, fates

    def kept_out(self, rows: list[Row], sender: Sender) -> list[Row]:
        """Stores the sorted rows; returns those that stayed out."""
        positions = self.store.many(rows)
        if sender.relay:
            out = set(positions)
            self.results.delivered(row.created_at for n, row in enumerate(rows) if n not in out)
        return [rows[position] for position in positions]

    def judged(self, event: Parsed, sender: Sender, now: datetime) -> Row | list[FieldError]:
        if isinstance(event, list):
            return event
        try:
            return self.intake.row(event, sender, now)
        except Invalid as problem:
            return problem.errors
        except Forbidden as problem:
            return [FieldError("user_id" if event.get("user_id") else "event_type", problem.detail)]

    def fates(self, rows: list[Row], places: dict[tuple[object, ...], int]) -> list[Fate]:
        fates = []
        for row, why in zip(rows, self.store.refusals(rows), strict=True):
            fate = Fate(places[row[:3]], "erased" if why.erased else "duplicate")
            if why.dropped_before:
                fate = Fate(fate.index, "rejected", [too_old("created_at", why.dropped_before)])
            fates.append(fate)
        return fates


def answered(row: Row, number: int, metadata: dict[str, Any]) -> dict[str, Any]:
    """Returns a stored event as the API answers it."""
    return {
        "id": number,
        "event_id": row.event_id,
        "event_type": row.event_type,
        "user_id": row.user_id,
        "metadata": metadata,
        "created_at": rfc3339(row.created_at),
    }
