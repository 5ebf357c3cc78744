"""Ingest: events -> stored and counted in one transaction, each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from analytics_app.admission import ERASING, Admission
from analytics_app.batches import Parsed
from analytics_app.dialects.rows import Row, Stored
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
    errors: Sequence[FieldError] = ()


class Why(NamedTuple):
    """Why an event was not accepted."""

    status: str
    errors: Sequence[FieldError] = ()


ATTEMPTS = 2
DUPLICATE = Why("duplicate")


class Ingest:
    """The use cases of storing; one for each app."""

    def __init__(
        self, intake: Intake, admission: Admission, store: Store, results: Results
    ) -> None:
        self.intake = intake
        self.admission = admission
        self.store = store
        self.results = results

    def one(self, data: bytes, sender: Sender) -> tuple[dict[str, Any] | None, bool]:
        """Stores one event; returns it as stored, and whether it is new. None: erased.

        Raises BadRequest, Invalid with all complaints, and Forbidden; commits.
        """
        try:
            event = parsed_event(data)
            row = self.single(event, sender)
            stored, out = self.settled(
                [row], sender, lambda rows: self.store.one(*rows, trusted=sender.trusted)
            )
            if out:
                return self.repeated(row, out[0]), False
            self.results.add("accepted")
            return answered(row, stored[0], event.get("metadata") or {}), True
        except (Invalid, Forbidden):
            self.results.add("rejected")
            raise

    def single(self, event: EventIn, sender: Sender) -> Row:
        """Returns one event as it is to be stored; raises Invalid and Forbidden."""
        if event.get("actor") is not None:
            raise Invalid([FieldError("actor", "is taken in batches only")])
        return self.intake.row(event, sender, datetime.now(UTC))

    def repeated(self, row: Row, why: Why) -> dict[str, Any] | None:
        """Returns the event that is there already; None: it was erased. Or raises Invalid."""
        if why.status == "rejected":
            raise Invalid(why.errors)
        found = None if why.status == "erased" else self.store.stored_like(row)
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
        out = self.kept_out(rows, sender)
        fates += [Fate(places[rows[n][:3]], why.status, why.errors) for n, why in out.items()]
        fates.sort(key=lambda fate: fate.index)
        accepted = len(rows) - len(out)
        self.results.add("accepted", accepted)
        for status, n in Counter(fate.status for fate in fates).items():
            self.results.add(status, n)
        return accepted, fates

    def kept_out(self, rows: list[Row], sender: Sender) -> dict[int, Why]:
        """Stores the rows; returns by position why some stayed out."""
        _, out = self.settled(
            rows, sender, lambda some: self.store.many(some, trusted=sender.trusted)
        )
        if sender.relay:
            self.results.delivered(row.created_at for n, row in enumerate(rows) if n not in out)
        return out

    def settled(
        self, rows: list[Row], sender: Sender, store: Callable[[list[Row]], Stored]
    ) -> tuple[dict[int, int], dict[int, Why]]:
        """Stores what may come in; returns the numbers (if asked for) and why others stayed out.

        A type that was erased since this process saw it is registered anew, once.
        """
        ids: dict[int, int] = {}
        out: dict[int, Why] = {}
        pending = list(range(len(rows)))
        for _ in range(ATTEMPTS):
            if not pending:
                break
            places, stored = self.attempt(rows, pending, sender, store, out)
            ids.update((places[n], number) for n, number in stored.ids.items())
            pending = [places[n] for n in stored.unregistered]
            self.admission.forget({rows[n].event_type for n in pending})
        out.update((n, Why("rejected", [ERASING])) for n in pending)
        return ids, out

    def attempt(
        self,
        rows: list[Row],
        pending: list[int],
        sender: Sender,
        store: Callable[[list[Row]], Stored],
        out: dict[int, Why],
    ) -> tuple[list[int], Stored]:
        """Stores those of the pending rows that are admitted; adds to `out` why others aren't.

        Returns the places of the rows that were given to the store, and its answer.
        """
        some = [rows[n] for n in pending]
        with self.admission.admitting(some, sender) as admitted:
            kept_out = admitted.complaints.keys() | admitted.repeats
            places = [n for k, n in enumerate(pending) if k not in kept_out]
            # So that two writers of the same events never wait for each other in a ring.
            places.sort(key=rows.__getitem__)
            stored = store([rows[n] for n in places]) if places else Stored()
            admitted.stored = len(places) - len(stored.refused)
        out.update((pending[k], DUPLICATE) for k in admitted.repeats)
        out.update((pending[k], Why("rejected", [c])) for k, c in admitted.complaints.items())
        out.update(self.refused(rows, places, stored, sender))
        return places, stored

    def refused(
        self, rows: list[Row], places: list[int], stored: Stored, sender: Sender
    ) -> Iterator[tuple[int, Why]]:
        """Yields why rows that were given to the store stayed out, but for unregistered types."""
        for n in stored.homeless:
            yield places[n], Why("rejected", [self.store.no_partition(trusted=sender.trusted)])
        known = {*stored.homeless, *stored.unregistered}
        others = [places[n] for n in stored.refused if n not in known]
        refusals = self.store.refusals([rows[n] for n in others])
        for n, why in zip(others, refusals, strict=True):
            if why.dropped_before:
                yield n, Why("rejected", [too_old("created_at", why.dropped_before)])
            else:
                yield n, Why("erased") if why.erased else DUPLICATE

    def judged(self, event: Parsed, sender: Sender, now: datetime) -> Row | list[FieldError]:
        if isinstance(event, list):
            return event
        try:
            return self.intake.row(event, sender, now)
        except (Invalid, Forbidden) as problem:
            return problem.errors


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
