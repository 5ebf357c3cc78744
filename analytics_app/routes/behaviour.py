"""What people do: funnels, retention, paths, properties and breakdowns."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, request
from pydantic import BaseModel

from analytics_app.behaviour import funnels
from analytics_app.behaviour.admission import Computation
from analytics_app.behaviour.breakdown import breakdown
from analytics_app.behaviour.durations import seconds_of
from analytics_app.behaviour.frames import Window
from analytics_app.behaviour.paths import paths
from analytics_app.behaviour.properties import properties
from analytics_app.behaviour.retention import retention
from analytics_app.behaviour.source import Source
from analytics_app.ranges import USUAL_DAYS, Range
from analytics_app.reports import dated
from analytics_app.rollups import Rollups
from analytics_app.routes.reports import READERS, range_of
from analytics_app.schemas.behaviour import (
    Breakdown,
    BreakdownQuery,
    Dropped,
    DroppedIn,
    Funnel,
    FunnelIn,
    FunnelSteps,
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
from chassis.errors import Forbidden
from chassis.schema import rfc3339

routes = Blueprint("behaviour", __name__, url_prefix="/analytics")
CONDITIONS = "Conditions on properties are for analysts: ask for the event types alone."
BY_VALUE = "Values of properties are for analysts: ask without the breakdown."


def report(
    question: BaseModel,
    span: Range,
    compute: Callable[[Source], dict[str, Any]],
    needs_raw_since: datetime | None,
) -> dict[str, Any]:
    """Returns a report after its range, admitted and in time; computed once for all who ask it.

    Raises Invalid where it needs raw events that retention has dropped.
    """
    control, deadline = services().admission, services().deadline()

    def computed(computation: Computation) -> dict[str, Any]:
        with control.admit(f"{caller().kind} {caller().subject}", deadline):
            computation.begin_reading()
            return read()

    def read() -> dict[str, Any]:
        with services().readers.snapshot(deadline) as snapshot:
            if needs_raw_since is not None:
                Rollups(snapshot.connection).need_raw(needs_raw_since)
            head = {"start": rfc3339(span.start), "end": rfc3339(span.end), "tz": span.zone.key}
            return dated({**head, **compute(Source(snapshot.connection, deadline))}, snapshot)

    asked = (request.endpoint, question.model_dump_json(), sees_values())
    found: dict[str, Any] = control.once(asked, deadline, computed)
    return found


def range_in(body: FunnelSteps) -> Range:
    """Returns the range that a body asks for, as queries do."""
    asked = RangeQuery(start=body.start, end=body.end, tz=body.tz)
    return range_of(asked, datetime.now(UTC))


def window_of(span: Range) -> Window:
    return Window.of(Span(span.start, span.end))


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
@api(body=FunnelIn, answers={200: Funnel})
def get_funnel(body: FunnelIn) -> dict[str, Any]:
    """Follow people through ordered steps.

    Someone counts by the attempt that got furthest; every step lies within the range and
    within the window of the first.
    """
    seconds = seconds_of(body.window, "window")
    need_analyst(body.breakdown, BY_VALUE)
    need_analyst(any(step.metadata for step in body.steps), CONDITIONS)
    span = range_in(body)
    return report(
        body,
        span,
        lambda source: funnels.report(source, body, window_of(span), seconds),
        span.start,
    )


@routes.post("/funnel/dropped")
@requires("events:read")
@api(body=DroppedIn, answers={200: Dropped})
def list_dropped_users(body: DroppedIn) -> dict[str, Any]:
    """List the users who got as far as the step before, and no further."""
    seconds = seconds_of(body.window, "window")
    span = range_in(body)
    return report(
        body,
        span,
        lambda source: funnels.dropped(source, body, window_of(span), seconds),
        span.start,
    )


@routes.get("/retention")
@requires(*READERS)
@api(query=RetentionQuery, answers={200: Retention}, etag=True)
def get_retention(query: RetentionQuery) -> dict[str, Any]:
    """Show how many of each cohort came back, by period since their first event."""
    now = datetime.now(UTC)
    span = range_of(query, now, USUAL_DAYS[query.interval])
    # Who was there is kept for ever, but neither what they did nor parts of a quarter-hour.
    ends = cut(Span(span.start, span.end)).ends
    raw_since = span.start if query.event_type else min((e.start for e in ends), default=None)

    def triangle(source: Source) -> dict[str, Any]:
        cohorts = retention(source, span, query.interval, query.event_type, now)
        return {"interval": query.interval, "event_type": query.event_type, "cohorts": cohorts}

    return report(query, span, triangle, raw_since)


@routes.get("/paths")
@requires(*READERS)
@api(query=PathsQuery, answers={200: Paths}, etag=True)
def get_paths(query: PathsQuery) -> dict[str, Any]:
    """Show what people did next after an event type, or before it; repeats are folded."""
    gap = seconds_of(query.gap, "gap") if query.gap else None
    span = range_of(query, datetime.now(UTC))

    def walked(source: Source) -> dict[str, Any]:
        found = paths(
            source,
            query.event_type,
            window_of(span),
            backwards=query.direction == "before",
            levels=query.levels,
            most=query.limit,
            gap=gap and gap * 1_000_000,
        )
        head = {"event_type": query.event_type, "direction": query.direction, "gap_seconds": gap}
        return {**head, **found}

    return report(query, span, walked, span.start)


@routes.get("/properties")
@requires(*READERS)
@api(query=PropertiesQuery, answers={200: Properties}, etag=True)
def get_properties(query: PropertiesQuery) -> dict[str, Any]:
    """List the metadata keys of event types; analysts see samples of their values.

    At most 1,000 keys are listed in all: those of the largest types (of those asked for), and
    of each type its most frequent.
    """
    span = range_of(query, datetime.now(UTC))
    return report(
        query,
        span,
        lambda source: {"items": properties(source, query.event_type, window_of(span))},
        span.start,
    )


@routes.get("/breakdown")
@requires(*READERS)
@api(query=BreakdownQuery, answers={200: Breakdown}, etag=True)
def get_breakdown(query: BreakdownQuery) -> dict[str, Any]:
    """Break an event type down by the values of a key.

    Filters: metadata.<key>=<value>, for analysts, written as for lists of events. Viewers see
    how many events each value has, not which value it is, nor what its numbers sum up to.
    """
    need_analyst(query.metadata, CONDITIONS)
    span = range_of(query, datetime.now(UTC))
    measure = query.measure or query.key

    def broken_down(source: Source) -> dict[str, Any]:
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
        return {**head, **found}

    return report(query, span, broken_down, span.start)
