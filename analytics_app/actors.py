"""Counts different actors: from presence for whole quarters, from raw events at the ends.

All values in this SQL are whole numbers or bound; both engines read it alike.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, case, func, select, text, union_all

from analytics_app import dialects
from analytics_app.deadlines import watched_rows
from analytics_app.erased import unerased
from analytics_app.models import Event
from analytics_app.spans import Cut, Span
from analytics_app.zones import QUARTERS_A_DAY

HALF = 48
ALL = (1 << HALF) - 1
REST = ""  # no event type is called so


class Mask(NamedTuple):
    """The quarters wanted of one UTC day: 48 bits each for low and high."""

    bucket: int
    day: int
    low: int
    high: int


def distinct_actors(connection: Connection, cuts: Sequence[Cut]) -> list[int]:
    """Returns the number of different actors in each cut."""
    found = [0] * len(cuts)
    with_ends = [number for number, each in enumerate(cuts) if each.ends]
    plain = [
        mask for number, each in enumerate(cuts) if not each.ends for mask in masks(number, each)
    ]
    if plain:
        for bucket, n in watched_rows(connection, text(counted(plain))):
            found[bucket] = n
    for number in with_ends:
        found[number] = with_raw_ends(connection, cuts[number])
    return found


def masks(bucket: int, each: Cut) -> Iterator[Mask]:
    """Returns the masks, one a day, that together select a cut's whole quarters."""
    for day in range(each.first // QUARTERS_A_DAY, -(-each.last // QUARTERS_A_DAY)):
        since = max(each.first - day * QUARTERS_A_DAY, 0)
        until = min(each.last - day * QUARTERS_A_DAY, QUARTERS_A_DAY)
        if since < until:
            bits = (1 << until) - (1 << since)
            yield Mask(bucket, day, bits & ALL, bits >> HALF)


def present(wanted: Sequence[Mask]) -> str:
    """Returns SQL for the (bucket, actor) pairs of presence that the masks select."""
    rows = ", ".join(f"({', '.join(map(str, each))})" for each in wanted)
    days = [each.day for each in wanted]
    # Whole numbers alone are written into the SQL.
    return (
        f"WITH wanted (bucket, day, low, high) AS (VALUES {rows}) "  # noqa: S608  # nosec B608
        "SELECT w.bucket, p.actor FROM wanted w JOIN presence p ON p.day = w.day "
        "AND ((p.low & w.low) <> 0 OR (p.high & w.high) <> 0) "
        f"WHERE p.day BETWEEN {min(days)} AND {max(days)}"
    )


def counted(wanted: Sequence[Mask]) -> str:
    """Returns SQL for the number of different actors by bucket."""
    buckets = [each.bucket for each in wanted]
    # Within one day there is one row for an actor: no need to look for repeats.
    pairs = present(wanted)
    if len(set(buckets)) < len(buckets):
        pairs = f"SELECT DISTINCT bucket, actor FROM ({pairs}) AS seen"  # noqa: S608  # nosec B608
    return f"SELECT bucket, count(*) FROM ({pairs}) AS actors GROUP BY bucket"  # noqa: S608  # nosec B608


def with_raw_ends(connection: Connection, each: Cut) -> int:
    """Returns the number of different actors of one cut with raw ends."""
    parts = [
        select(Event.actor).where(
            Event.created_at >= end.start,
            Event.created_at < end.end,
            Event.actor != 0,
            *unerased(connection),
        )
        for end in each.ends
    ]
    if whole := list(masks(0, each)):
        pairs = text(present(whole)).columns(bucket=Event.id.type, actor=Event.actor.type)
        parts.append(select(pairs.subquery().c.actor))
    actors = union_all(*parts).subquery()
    chosen = select(actors.c.actor).distinct().subquery()
    return int(connection.execute(select(func.count()).select_from(chosen)).scalar_one())


def distinct_actors_of_types(
    connection: Connection, spans: Sequence[Span], types: Sequence[str]
) -> list[int]:
    """Returns the number of different actors who did any of the types, in each span."""
    found = [0] * len(spans)
    for number, span in enumerate(spans):
        chosen = select(func.count(Event.actor.distinct())).where(
            Event.event_type.in_(types),
            Event.created_at >= span.start,
            Event.created_at < span.end,
            Event.actor != 0,
            *unerased(connection),
        )
        found[number] = int(connection.execute(chosen).scalar_one())
    return found


def actors_by_type(
    connection: Connection, span: Span, types: Sequence[str], named: Sequence[str]
) -> dict[str, int]:
    """Returns the number of different actors of each of the types (all if none) in a span.

    Where some are `named`, those who did anything else of it are counted as `REST`, once.
    """
    listed = case((Event.event_type.in_(named), Event.event_type), else_=REST)
    kind = listed if named else Event.event_type
    chosen = select(kind.label("kind"), Event.actor).where(*someones(connection, span))
    if types:
        chosen = chosen.where(Event.event_type.in_(types))
    pairs = chosen.distinct().subquery()
    counted = select(pairs.c.kind, func.count()).group_by(pairs.c.kind)
    return dict(connection.execute(counted).tuples().all())


def actors_beside(connection: Connection, span: Span, types: Collection[str]) -> int:
    """Returns the number of different actors who did anything but these types in a span."""
    others = Event.event_type.not_in(types)
    chosen = select(func.count(Event.actor.distinct())).where(*someones(connection, span), others)
    return int(connection.execute(chosen).scalar_one())


def someones(connection: Connection, span: Span) -> tuple[ColumnElement[bool], ...]:
    within = Event.created_at >= span.start, Event.created_at < span.end
    return (*within, Event.actor != 0, *unerased(connection))


def by_minute(
    connection: Connection, span: Span, types: Sequence[str]
) -> dict[datetime, tuple[int, int]]:
    """Returns events and different actors for each minute in which something happened."""
    minute = dialects.of(connection.engine).minute(Event.created_at).label("minute")
    someone = case((Event.actor != 0, Event.actor))
    chosen = select(minute, func.count(), func.count(someone.distinct())).where(
        Event.created_at >= span.start, Event.created_at < span.end, *unerased(connection)
    )
    if types:
        chosen = chosen.where(Event.event_type.in_(types))
    found = watched_rows(connection, chosen.group_by(minute))
    return {datetime.fromtimestamp(each, UTC): (n, unique) for each, n, unique in found}
