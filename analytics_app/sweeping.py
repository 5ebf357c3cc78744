"""Deletes the events of open erasures, slice by slice, so that nobody waits for long.

Each slice is a transaction that holds its erasure: whoever is killed leaves the rest to the
next round, and of two who are at work each takes another slice or another erasure.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from threading import Event as Flag
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Tuple,
    delete,
    exists,
    literal,
    select,
    tuple_,
    update,
)

from analytics_app import dialects
from analytics_app.erased import IS_OPEN
from analytics_app.models import Erasure, Event
from chassis.database import writing
from chassis.telemetry import get_logger

SLICE_EVENTS = 2_000
SHORTEST_PAUSE_SECONDS = 0.02
log = get_logger(__name__)


place_of_event = tuple_(Event.created_at, Event.event_id)


class Place(NamedTuple):
    """Up to where an erasure's events are deleted, in the order of their key."""

    erasure: int
    created_at: datetime
    event_id: str

    def key(self) -> Tuple:
        return tuple_(
            literal(self.created_at, Event.created_at.type),
            literal(self.event_id, Event.event_id.type),
        )


def sweep(engine: Engine, stop: Flag) -> None:
    """Deletes what open erasures hold; pauses after each slice for as long as it took."""
    place: Place | None = None
    with engine.connect() as connection:
        while some_are_open(connection) and not stop.is_set():
            begun = time.monotonic()
            with writing(connection):
                place = next_slice(connection, place)
            stop.wait(max(SHORTEST_PAUSE_SECONDS, time.monotonic() - begun))


def some_are_open(connection: Connection) -> bool:
    """Looks without a lock: most looks find nothing."""
    with connection.begin():
        return bool(connection.scalar(select(exists().where(IS_OPEN))))


def next_slice(connection: Connection, since: Place | None) -> Place | None:
    """Deletes the next slice of the oldest erasure that nobody else holds; returns its end."""
    dialects.of(connection.engine).unhurried(connection)
    chosen = select(Erasure.__table__).where(IS_OPEN).order_by(Erasure.id).limit(1)
    erasure = connection.execute(chosen.with_for_update(skip_locked=True)).one_or_none()
    if erasure is None:
        return since
    here = since if since and since.erasure == erasure.id else None
    return delete_slice(connection, erasure, here)


def delete_slice(connection: Connection, erasure: Any, since: Place | None) -> Place | None:
    """Deletes the slice that begins after the place; returns its end, None for the last."""
    where = [Event.actor == erasure.actor, Event.created_at < erasure.before]
    if since:  # the entries before are deleted, but an index may still hold them
        where += [Event.created_at >= since.created_at, place_of_event > since.key()]
    last = end_of_slice(connection, erasure, where)
    if last:
        where += [Event.created_at <= last.created_at, place_of_event <= last.key()]
    gone = connection.execute(delete(Event).where(*where)).rowcount
    finished = None if last else datetime.now(UTC)
    changed = update(Erasure).where(Erasure.id == erasure.id)
    connection.execute(changed.values(erased=Erasure.erased + gone, finished_at=finished))
    if finished:
        log.info("erasure finished", erasure=erasure.id, events=erasure.events)
    return last


def end_of_slice(
    connection: Connection, erasure: Any, where: Sequence[ColumnElement[bool]]
) -> Place | None:
    """Returns where the slice ends; None if all that is left fits into it."""
    order = (Event.created_at, Event.event_id)
    chosen = select(*order).where(*where).order_by(*order).offset(SLICE_EVENTS - 1).limit(1)
    found = connection.execute(chosen).one_or_none()
    return Place(erasure.id, *found) if found else None
