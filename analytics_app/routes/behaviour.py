"""What people do: funnels, retention, paths, properties and breakdowns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint

from analytics_app.behaviour import funnels
from analytics_app.behaviour.breakdown import breakdown
from analytics_app.behaviour.durations import seconds_of
from analytics_app.behaviour.frames import Window
from analytics_app.behaviour.paths import paths
from analytics_app.behaviour.properties import properties
from analytics_app.behaviour.retention import retention
from analytics_app.behaviour.source import Source
from analytics_app.ranges import USUAL_DAYS, Range
from analytics_app.readers import Snapshot
from analytics_app.reports import dated
from analytics_app.rollups import Rollups
from analytics_app.routes.reports import range_of
from analytics_app.schemas.behaviour import (
    Breakdown,
    BreakdownQuery,
    Dropped,
    DroppedIn,
    Funnel,
    FunnelIn,
    Paths,
    PathsQuery,
    Properties,
    PropertiesQuery,
    Retention,
    RetentionQuery,
)
from analytics_app.schemas.reports import RangeQuery
from analytics_app.services import services
from analytics_app.spans import Span, cut
from chassis.api import api
from chassis.auth import caller, requires
from chassis.errors import Forbidden, Unavailable
from chassis.schema import rfc3339

routes = Blueprint("behaviour", __name__, url_prefix="/analytics")
READERS = ("reports:read", "events:read")
CONDITIONS = "Conditions on properties are for analysts: ask for the event types alone."
BY_VALUE = "Values of properties are for analysts: ask without the breakdown."


@contextmanager
def opened(since: datetime | None) -> Iterator[tuple[Source, Snapshot]]:
    """Lends a source when it is the report's turn.

    Raises Invalid where it needs raw events that retention has dropped.
    """
    deadline = services().deadline()
    with services().turns.turn(deadline), services().readers.snapshot(deadline) as snapshot:
        if since is not None:
            Rollups(snapshot.connection).need_raw(since)
        yield Source(snapshot.connection, deadline), snapshot


def range_in(body: FunnelIn) -> Range:
    """Returns the range that a body asks for, as queries do."""
    asked = RangeQuery(start=body.start, end=body.end, tz=body.tz)
    return range_of(asked, datetime.now(UTC))


def window_of(span: Range) -> Window:
    return Window.of(Span(span.start, span.end))


def of_range(span: Range, snapshot: Snapshot, answer: dict[str, Any]) -> dict[str, Any]:
    """Returns the answer with what each says first: its range."""
    head = {"start": rfc3339(span.start), "end": rfc3339(span.end), "tz": span.zone.key}
    return dated({**head, **answer}, snapshot)


def sees_values() -> bool:
    return caller().may("events:read")


def need_analyst(wish: Any, said: str) -> None:
    """Raises Forbidden where a viewer asks for what only values can answer.

    What an answer says of values is taken out by its schema; a condition would say it anyway.
    """
    if wish and not sees_values():
        raise Forbidden(said)


@routes.post("/funnel")
@requires(*READERS)
@api(body=FunnelIn, answers={200: Funnel}, errors=(Forbidden, Unavailable))
def post_funnel(body: FunnelIn) -> dict[str, Any]:
    """Follow people through ordered steps.

    Someone counts by the attempt that got furthest; every step lies within the range and
    within the window of the first.
    """
    seconds = seconds_of(body.window, "window")
    need_analyst(body.breakdown, BY_VALUE)
    need_analyst(any(step.metadata for step in body.steps), CONDITIONS)
    span = range_in(body)
    with opened(span.start) as (source, snapshot):
        return of_range(span, snapshot, funnels.report(source, body, window_of(span), seconds))


@routes.post("/funnel/dropped")
@requires("events:read")
@api(body=DroppedIn, answers={200: Dropped}, errors=(Forbidden, Unavailable))
def post_dropped(body: DroppedIn) -> dict[str, Any]:
    """List the users who got as far as the step before, and no further."""
    seconds = seconds_of(body.window, "window")
    span = range_in(body)
    with opened(span.start) as (source, snapshot):
        return of_range(span, snapshot, funnels.dropped(source, body, window_of(span), seconds))


@routes.get("/retention")
@requires(*READERS)
@api(query=RetentionQuery, answers={200: Retention}, errors=(Unavailable,), etag=True)
def get_retention(query: RetentionQuery) -> dict[str, Any]:
    """Show how many of each cohort came back, by period since their first event."""
    now = datetime.now(UTC)
    span = range_of(query, now, USUAL_DAYS[query.interval])
    # Who was there is kept for ever, but neither what they did nor parts of a quarter-hour.
    ends = cut(Span(span.start, span.end)).ends
    raw_since = span.start if query.event_type else min((e.start for e in ends), default=None)
    with opened(raw_since) as (source, snapshot):
        cohorts = retention(source, span, query.interval, query.event_type, now)
        answer = {"interval": query.interval, "event_type": query.event_type, "cohorts": cohorts}
        return of_range(span, snapshot, answer)


@routes.get("/paths")
@requires(*READERS)
@api(query=PathsQuery, answers={200: Paths}, errors=(Unavailable,), etag=True)
def get_paths(query: PathsQuery) -> dict[str, Any]:
    """Show what people did next after an event type, or before it; repeats are folded."""
    gap = seconds_of(query.gap, "gap") if query.gap else None
    span = range_of(query, datetime.now(UTC))
    with opened(span.start) as (source, snapshot):
        found = paths(
            source,
            query.event_type,
            window_of(span),
            backwards=query.direction == "before",
            levels=query.levels,
            most=query.limit,
            gap=gap and gap * 1_000_000,
        )
        answer = {"event_type": query.event_type, "direction": query.direction, "gap_seconds": gap}
        return of_range(span, snapshot, {**answer, **found})


@routes.get("/properties")
@requires(*READERS)
@api(query=PropertiesQuery, answers={200: Properties}, errors=(Unavailable,), etag=True)
def get_properties(query: PropertiesQuery) -> dict[str, Any]:
    """List the metadata keys of event types; analysts see samples of their values."""
    span = range_of(query, datetime.now(UTC))
    with opened(span.start) as (source, snapshot):
        types = list(dict.fromkeys(query.event_type))
        items = properties(source, types, window_of(span))
        return of_range(span, snapshot, {"items": items})


@routes.get("/breakdown")
@requires(*READERS)
@api(query=BreakdownQuery, answers={200: Breakdown}, errors=(Forbidden, Unavailable), etag=True)
def get_breakdown(query: BreakdownQuery) -> dict[str, Any]:
    """Break an event type down by the values of a key.

    Filters: metadata.<key>=<value>, for analysts. Viewers see how many events each value has,
    not which value it is, nor what its numbers sum up to.
    """
    need_analyst(query.metadata, CONDITIONS)
    span = range_of(query, datetime.now(UTC))
    measure = query.measure or query.key
    with opened(span.start) as (source, snapshot):
        found = breakdown(
            source,
            query.event_type,
            window_of(span),
            key=query.key,
            measure=measure,
            filters={key: [text] for key, text in query.metadata.items()},
            most=query.limit,
            by_value=sees_values(),
        )
        head = {"event_type": query.event_type, "key": query.key, "measure": measure}
        return of_range(span, snapshot, {**head, **found})
