"""Lists of raw events, newest first, by keyset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, select, true, tuple_

from analytics_app import dialects
from analytics_app.erased import unerased
from analytics_app.models import Event, EventType
from analytics_app.readers import Snapshot
from analytics_app.reports import dated
from chassis.pagination import Paging
from chassis.schema import rfc3339


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events: all that every given part allows."""

    start: datetime | None = None
    end: datetime | None = None
    types: Sequence[str] = ()
    actor: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def page(snapshot: Snapshot, wanted: Filter, query: Paging) -> dict[str, Any]:
    """Returns one page; events that arrive meanwhile neither repeat nor hide another."""
    where = conditions(snapshot, wanted)
    if after := query.after():
        where.append(tuple_(Event.created_at, Event.id) < tuple_(*after))
        where.append(Event.created_at <= after[0])  # what an index can begin at
    dialect = dialects.of(snapshot.connection.engine)
    by_index = dialect.NEEDS_A_TYPE and wanted.actor is None
    chosen = newest_by_type(where, query.limit + 1) if by_index else newest(where, query.limit + 1)
    rows = snapshot.connection.execute(chosen).all()
    return dated(query.page(rows, answered), snapshot)


def newest(where: list[ColumnElement[bool]], limit: int) -> Select[Any]:
    """Returns the newest events that fit."""
    order = (Event.created_at.desc(), Event.id.desc())
    return select(Event.__table__).where(*where).order_by(*order).limit(limit)


def newest_by_type(where: list[ColumnElement[bool]], limit: int) -> Select[Any]:
    """Returns the same from the newest of each type, which an index by type and time holds.

    No event is of a type that isn't registered, and the number of those is limited.
    """
    kinds = select(EventType.event_type).subquery("kinds")
    each = newest([*where, Event.event_type == kinds.c.event_type], limit).lateral("newest")
    chosen = select(each).select_from(kinds).join(each, true())
    return chosen.order_by(each.c.created_at.desc(), each.c.id.desc()).limit(limit)


def conditions(snapshot: Snapshot, wanted: Filter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [*unerased(snapshot.connection)]
    if wanted.start:
        found.append(Event.created_at >= wanted.start)
    if wanted.end:
        found.append(Event.created_at < wanted.end)
    if wanted.types:
        found.append(Event.event_type.in_(wanted.types))
    if wanted.actor is not None:
        found.append(Event.actor == wanted.actor)
    has_metadata = dialects.of(snapshot.connection.engine).has_metadata
    found += [has_metadata(Event.details, key, value) for key, value in wanted.metadata.items()]
    return found


def answered(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "event_id": row.event_id,
        "event_type": row.event_type,
        "user_id": row.user_id,
        "metadata": row.metadata,
        "created_at": rfc3339(row.created_at),
    }
