"""Reports from the rollups: summary, time series, counts by type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from analytics_app.ranges import Bucket, Interval, Range, buckets, previous
from analytics_app.readers import Snapshot
from analytics_app.rollups import Rollups
from analytics_app.spans import Span
from chassis.errors import FieldError, Invalid
from chassis.pagination import sparse
from chassis.schema import rfc3339

FIGURES = ("total_events", "unique_users", "events_by_type", "events_over_time")
POINT = ("start", "count", "unique_users", "complete")
BY_TYPE = "by_type"  # in a point only where it is asked for


def summary(
    snapshot: Snapshot, span: Range, now: datetime, *, compare: bool, fields: str | None = None
) -> dict[str, Any]:
    """Returns the figures of a range, and of the one before it over the same elapsed time."""
    rollups, wanted = Rollups(snapshot.connection), chosen(fields, FIGURES)
    answer = {**figures(rollups, span, now, wanted), "tz": span.zone.key}
    if compare:
        answer["previous"] = figures(rollups, previous(span, now), now, wanted)
    return dated(answer, snapshot)


def figures(rollups: Rollups, span: Range, now: datetime, wanted: Sequence[str]) -> dict[str, Any]:
    """Returns the range and its figures; what is not wanted is not looked up."""
    whole = Span(span.start, span.end)
    by_type = rollups.by_type(whole)
    ordered = sorted(by_type.items(), key=lambda each: (-each[1], each[0]))
    known: dict[str, Callable[[], Any]] = {
        "total_events": by_type.total,
        "unique_users": lambda: rollups.actors([whole])[0],
        "events_by_type": lambda: {event_type: n for event_type, n in ordered if n},
        "events_over_time": lambda: points(rollups, span, "day", (), now),
    }
    ends = {"start": rfc3339(span.start), "end": rfc3339(span.end)}
    return ends | {name: known[name]() for name in wanted}


def chosen(fields: str | None, known: Sequence[str]) -> Sequence[str]:
    """Returns the names that were asked for, all if none; raises Invalid for one unknown."""
    (named,) = sparse([dict.fromkeys(known)], fields, known)
    return tuple(named)


def series(
    snapshot: Snapshot,
    span: Range,
    interval: Interval,
    types: Sequence[str],
    now: datetime,
    fields: str | None = None,
) -> dict[str, Any]:
    """Returns every bucket of a range, of some types or of all."""
    wanted = chosen(fields, (*POINT, BY_TYPE)) if fields else POINT
    items = points(Rollups(snapshot.connection), span, interval, types, now, wanted)
    answer = {
        "interval": interval,
        "tz": span.zone.key,
        "start": rfc3339(span.start),
        "end": rfc3339(span.end),
        "items": items,
    }
    return dated(answer, snapshot)


def points(
    rollups: Rollups,
    span: Range,
    interval: Interval,
    types: Sequence[str],
    now: datetime,
    wanted: Sequence[str] = POINT,
) -> list[dict[str, Any]]:
    """Returns every bucket; what is not wanted of it may be left uncounted."""
    found = buckets(span, interval)
    spans = [Span(max(each.start, span.start), min(each.end, span.end)) for each in found]
    by_type: list[Counter[str]] = [Counter()] * len(found)
    if interval == "minute":
        if BY_TYPE in wanted:
            raise Invalid([FieldError("fields", "by_type is not counted by the minute")])
        counts, actors = rollups.by_minute(spans, types)
    else:
        starts, whole = [each.start for each in found], Span(span.start, span.end)
        if BY_TYPE in wanted:
            by_type = rollups.in_buckets_by_type(whole, starts, span.zone, types)
            counts = [each.total() for each in by_type]
        else:
            counts = rollups.in_buckets(whole, starts, span.zone, types)
        users = "unique_users" in wanted
        actors = rollups.actors(spans, types) if users else [0] * len(spans)
    whole_points = (
        {**point(bucket, span, count, unique, now), BY_TYPE: dict(each.most_common())}
        for bucket, count, unique, each in zip(found, counts, actors, by_type, strict=True)
    )
    return [{name: each[name] for name in wanted} for each in whole_points]


def point(bucket: Bucket, span: Range, count: int, unique: int, now: datetime) -> dict[str, Any]:
    whole = span.start <= bucket.start and bucket.end <= span.end
    return {
        "start": rfc3339(bucket.start),
        "count": count,
        "unique_users": unique,
        "complete": whole and bucket.end <= now,
    }


def by_type(snapshot: Snapshot, span: Span | None) -> dict[str, Any]:
    """Returns counts and different actors by type; without a span, of all that is kept."""
    rollups = Rollups(snapshot.connection)
    if span is None:
        counts, actors = rollups.all_by_type()
    else:
        rollups.need_raw(span.start)
        counts, actors = rollups.by_type(span), rollups.actors_by_type(span)
    items = [
        {"event_type": event_type, "count": n, "unique_users": actors.get(event_type, 0)}
        for event_type, n in sorted(counts.items(), key=lambda each: (-each[1], each[0]))
        if n
    ]
    return dated({"items": items, "total": counts.total()}, snapshot)


def dated(answer: dict[str, Any], snapshot: Snapshot) -> dict[str, Any]:
    """Adds what a replica's answer must say: how fresh it is."""
    if snapshot.as_of is not None:
        answer["as_of"] = rfc3339(snapshot.as_of)
    return answer
