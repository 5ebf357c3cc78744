"""Reports from the rollups: summary, time series, counts by type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from analytics_app.actors import REST
from analytics_app.ranges import Bucket, Interval, Range, buckets, need_few, previous
from analytics_app.readers import Snapshot
from analytics_app.rollups import Rollups
from analytics_app.spans import Span
from chassis.errors import FieldError, Invalid
from chassis.pagination import need_fields
from chassis.schema import rfc3339

FIGURES = ("total_events", "unique_users", "events_by_type", "other", "events_over_time")
POINT = ("start", "count", "unique_users", "complete")
BY_TYPE, OTHER = "by_type", "other"  # in a point only where the first is asked for


class Limits(NamedTuple):
    """How many buckets a series has at most, and how many types are listed by name."""

    buckets: int
    types: int


def summary(
    snapshot: Snapshot,
    span: Range,
    now: datetime,
    limits: Limits,
    *,
    compare: bool,
    fields: str | None = None,
) -> dict[str, Any]:
    """Returns the figures of a range, and of the one before it over the same elapsed time."""
    wanted = need_fields(fields, FIGURES)
    if "events_over_time" in wanted:
        need_few(span, "day", limits.buckets, "start", " (MAX_BUCKETS)")
    rollups = Rollups(snapshot.connection)
    answer = {**figures(rollups, span, now, limits, wanted), "tz": span.zone.key}
    if compare:
        answer["previous"] = figures(rollups, previous(span, now), now, limits, wanted)
    return dated(answer, snapshot)


def figures(
    rollups: Rollups, span: Range, now: datetime, limits: Limits, wanted: Sequence[str]
) -> dict[str, Any]:
    """Returns the range and its figures; what is not wanted is not looked up."""
    whole = Span(span.start, span.end)
    by_type = rollups.by_type(whole)
    listed, rest = largest(by_type, limits.types)
    known: dict[str, Callable[[], Any]] = {
        "total_events": by_type.total,
        "unique_users": lambda: rollups.actors([whole])[0],
        "events_by_type": lambda: listed,
        "other": lambda: others(rest, rollups.actors_beside(whole, listed, rest) if rest else 0),
        "events_over_time": lambda: points(rollups, span, "day", (), now),
    }
    ends = {"start": rfc3339(span.start), "end": rfc3339(span.end)}
    return ends | {name: known[name]() for name in wanted}


def largest(counts: Counter[str], most: int) -> tuple[dict[str, int], dict[str, int]]:
    """Returns the counts of the most frequent types, in order, and those of all others."""
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    there = [each for each in ordered if each[1]]
    return dict(there[:most]), dict(there[most:])


def others(rest: dict[str, int], unique_users: int | None) -> dict[str, int | None]:
    """Returns what is answered of the types that aren't listed by name."""
    return {"types": len(rest), "count": sum(rest.values()), "unique_users": unique_users}


def series(
    snapshot: Snapshot,
    span: Range,
    interval: Interval,
    types: Sequence[str],
    now: datetime,
    limits: Limits,
    fields: str | None = None,
) -> dict[str, Any]:
    """Returns every bucket of a range, of some types or of all."""
    wanted = POINT if fields is None else need_fields(fields, (*POINT, BY_TYPE))
    need_few(span, interval, limits.buckets, "interval", " (MAX_BUCKETS)")
    rollups = Rollups(snapshot.connection)
    items = points(rollups, span, interval, types, now, wanted, limits.types)
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
    most_types: int = 0,
) -> list[dict[str, Any]]:
    """Returns every bucket; what is not wanted of it may be left uncounted.

    With counts by type, the most frequent types of the range are named, the rest is one.
    """
    found = buckets(span, interval)
    spans = [Span(max(each.start, span.start), min(each.end, span.end)) for each in found]
    by_type: list[Counter[str]] = [Counter()] * len(found)
    if interval == "minute":
        if BY_TYPE in wanted:
            raise Invalid([FieldError("fields", "by_type is not counted by the minute")])
        counts, actors = rollups.by_minute(spans, types)
    else:
        starts, whole = [each.start for each in found], Span(span.start, span.end)
        rest: dict[str, int] = {}
        if BY_TYPE in wanted:
            wanted = (*wanted, OTHER)
            listed, rest = largest(rollups.by_type(whole, types), most_types)
            if listed:  # no types would mean all
                by_type = rollups.in_buckets_by_type(whole, starts, span.zone, list(listed))
            counts = [each.total() for each in by_type]
        if BY_TYPE not in wanted or rest:
            counts = rollups.in_buckets(whole, starts, span.zone, types)
        users = "unique_users" in wanted
        actors = rollups.actors(spans, types) if users else [0] * len(spans)
    whole_points = (
        {
            **point(bucket, span, count, unique, now),
            BY_TYPE: dict(each.most_common()),
            OTHER: count - each.total(),
        }
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


def by_type(
    snapshot: Snapshot, span: Span | None, types: Sequence[str], limits: Limits
) -> dict[str, Any]:
    """Returns counts and different actors by type; without a span, of all that is counted.

    Actors are None of types of which retention dropped events: who did them isn't known.
    """
    rollups = Rollups(snapshot.connection)
    if span is None:
        span = rollups.counted()
    else:
        rollups.need_raw(span.start)
    counts = rollups.by_type(span, types)
    listed, rest = largest(counts, limits.types)
    actors = rollups.actors_by_type(span, types, list(listed) if rest else ())
    partly = rollups.dropped_types(span)
    items = [
        {
            "event_type": event_type,
            "count": n,
            "unique_users": None if event_type in partly else actors.get(event_type, 0),
        }
        for event_type, n in listed.items()
    ]
    other = others(rest, None if partly & rest.keys() else actors.get(REST, 0))
    return dated({"items": items, "other": other, "total": counts.total()}, snapshot)


def dated(answer: dict[str, Any], snapshot: Snapshot) -> dict[str, Any]:
    """Adds what a replica's answer must say: how fresh it is."""
    if snapshot.as_of is not None:
        answer["as_of"] = rfc3339(snapshot.as_of)
    return answer
