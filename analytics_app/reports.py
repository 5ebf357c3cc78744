"""Reports from the rollups: summary, time series, counts by type."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from analytics_app.ranges import Bucket, Interval, Range, buckets, previous
from analytics_app.readers import Snapshot
from analytics_app.rollups import Rollups
from analytics_app.spans import Span
from chassis.schema import rfc3339


def summary(snapshot: Snapshot, span: Range, now: datetime, *, compare: bool) -> dict[str, Any]:
    """Returns the figures of a range, and of the one before it over the same elapsed time."""
    rollups = Rollups(snapshot.connection)
    answer = {**figures(rollups, span, now), "tz": span.zone.key}
    if compare:
        answer["previous"] = figures(rollups, previous(span, now), now)
    return dated(answer, snapshot)


def figures(rollups: Rollups, span: Range, now: datetime) -> dict[str, Any]:
    whole = Span(span.start, span.end)
    by_type = rollups.by_type(whole)
    ordered = sorted(by_type.items(), key=lambda each: (-each[1], each[0]))
    return {
        "start": rfc3339(span.start),
        "end": rfc3339(span.end),
        "total_events": by_type.total(),
        "unique_users": rollups.actors([whole])[0],
        "events_by_type": {event_type: n for event_type, n in ordered if n},
        "events_over_time": points(rollups, span, "day", (), now),
    }


def series(
    snapshot: Snapshot, span: Range, interval: Interval, types: Sequence[str], now: datetime
) -> dict[str, Any]:
    """Returns every bucket of a range, of some types or of all."""
    answer = {
        "interval": interval,
        "tz": span.zone.key,
        "start": rfc3339(span.start),
        "end": rfc3339(span.end),
        "items": points(Rollups(snapshot.connection), span, interval, types, now),
    }
    return dated(answer, snapshot)


def points(
    rollups: Rollups, span: Range, interval: Interval, types: Sequence[str], now: datetime
) -> list[dict[str, Any]]:
    found = buckets(span, interval)
    spans = [Span(max(each.start, span.start), min(each.end, span.end)) for each in found]
    if interval == "minute":
        counts, actors = rollups.by_minute(spans, types)
    else:
        starts = [each.start for each in found]
        counts = rollups.in_buckets(Span(span.start, span.end), starts, span.zone, types)
        actors = rollups.actors(spans, types)
    return [
        point(bucket, span, count, unique, now)
        for bucket, count, unique in zip(found, counts, actors, strict=True)
    ]


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
