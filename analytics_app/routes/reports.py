"""Reports from the rollups."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint

from analytics_app import live, reports
from analytics_app.ranges import USUAL_DAYS, Range, asked, zone_of
from analytics_app.schemas.reports import (
    ByType,
    ByTypeQuery,
    Live,
    RangeQuery,
    Series,
    SeriesQuery,
    Summary,
    SummaryQuery,
)
from analytics_app.services import services
from analytics_app.spans import Span
from chassis.api import api
from chassis.auth import caller, requires

# What may read raw events may read what is counted from them.
READERS = ("reports:read", "events:read")

routes = Blueprint("reports", __name__, url_prefix="/analytics")


def range_of(query: RangeQuery, now: datetime, usual_days: int = 30) -> Range:
    zone = zone_of(query.tz, services().settings.reporting_timezone)
    return asked(query.start, query.end, zone, now, usual_days)


def limits() -> reports.Limits:
    settings = services().settings
    return reports.Limits(settings.max_buckets, settings.max_types_listed)


@routes.get("/summary")
@requires(*READERS)
@api(query=SummaryQuery, answers={200: Summary}, etag=True)
def get_summary(query: SummaryQuery) -> dict[str, Any]:
    """Sum up a range, and the one before it over the same elapsed time.

    Without a range: the last 30 days, today included, up to the next full minute. Over 3,000
    days (MAX_BUCKETS) are a 422 unless `fields` leaves out `events_over_time`.
    """
    now = datetime.now(UTC)
    span = range_of(query, now)
    with services().readers.snapshot(services().deadline()) as snapshot:
        return reports.summary(
            snapshot, span, now, limits(), compare=query.compare is not None, fields=query.fields
        )


@routes.get("/timeseries")
@requires(*READERS)
@api(query=SeriesQuery, answers={200: Series}, etag=True)
def get_timeseries(query: SeriesQuery) -> dict[str, Any]:
    """Count by minute, hour, day, week or month; every bucket is there, empty ones too.

    A range of over 3,000 buckets (MAX_BUCKETS) is a 422.
    """
    now = datetime.now(UTC)
    span = range_of(query, now, USUAL_DAYS[query.interval])
    with services().readers.snapshot(services().deadline()) as snapshot:
        return reports.series(
            snapshot, span, query.interval, query.event_type, now, limits(), query.fields
        )


@routes.get("/live")
@requires(*READERS)
@api(answers={200: Live}, etag=True)
def get_live() -> dict[str, Any]:
    """Show the last 30 minutes by minute, who is active, and the newest events to analysts."""
    now = datetime.now(UTC)
    with services().readers.snapshot(services().deadline()) as snapshot:
        return live.live(snapshot, now, with_events=caller().may("events:read"))


@routes.get("/events/by-type")
@requires(*READERS)
@api(query=ByTypeQuery, answers={200: ByType}, etag=True)
def count_by_type(query: ByTypeQuery) -> dict[str, Any]:
    """Count by event type; without a range, all that ever was, what retention dropped included.

    The most frequent types are listed (MAX_TYPES_LISTED, 50), all others are one `other`.
    """
    now = datetime.now(UTC)
    asked_for = range_of(query, now)  # a zone that there isn't is told without a range too
    span = asked_for if query.start or query.end else None
    with services().readers.snapshot(services().deadline()) as snapshot:
        whole = Span(span.start, span.end) if span else None
        return reports.by_type(snapshot, whole, query.event_type, limits())
