"""Retention: who came first in which bucket, and how many of them came back in the later ones.

A person belongs to the bucket that holds the first event they ever sent; those whose first
event lies outside of the range are in no cohort.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import numpy as np

from analytics_app.behaviour.frames import Window, joined
from analytics_app.behaviour.packing import Array
from analytics_app.behaviour.sets import distinct
from analytics_app.behaviour.shares import share
from analytics_app.behaviour.source import Source
from analytics_app.ranges import Bucket, Range, buckets, need_few
from analytics_app.spans import Span, cut
from chassis.schema import rfc3339

Interval = Literal["day", "week", "month"]
MOST_BUCKETS = 120


def retention(
    source: Source, span: Range, interval: Interval, types: Sequence[str], now: datetime
) -> list[dict[str, Any]]:
    """Returns the cohorts in order, each with its users and a cell for each bucket since."""
    need_few(span, interval, MOST_BUCKETS, "interval")
    found = buckets(span, interval)
    spans = [Span(max(each.start, span.start), min(each.end, span.end)) for each in found]
    present = [source.present(cut(each)) for each in spans]
    there = source.types(Window.of(Span(span.start, span.end)), types)
    back = [acted(source, each, there) for each in spans] if types else present
    before = source.present_before(span.start)
    source.deadline.check(2 * sum(map(len, (before, *present))))
    people, cohorts = cohorts_of(present, before)
    sizes = np.bincount(cohorts, minlength=len(found) + 1)
    cells = []
    for each in back:
        source.deadline.check(len(each))
        cells.append(returned(people, cohorts, each, len(found) + 1))
    complete = [span.start <= b.start and b.end <= min(span.end, now) for b in found]
    return [
        cohort(bucket, int(sizes[n]), [int(each[n]) for each in cells[n:]], complete[n:])
        for n, bucket in enumerate(found)
    ]


def acted(source: Source, span: Span, types: Sequence[str]) -> Array:
    """Returns the different people who did any of the types."""
    frames = [source.frame(each, Window.of(span)) for each in types]
    source.deadline.check(sum(len(frame.actors) for frame in frames))
    actors = distinct(joined([frame.actors for frame in frames]))
    return actors[actors != 0]


def cohorts_of(present: Sequence[Array], before: Array) -> tuple[Array, Array]:
    """Returns all people and the first bucket of each; the last number is for none."""
    people = distinct(joined(present))
    first = np.full(len(people), len(present), np.int64)
    for number in reversed(range(len(present))):
        first[np.searchsorted(people, present[number])] = number
    first[np.isin(people, before, assume_unique=True)] = len(present)
    return people, first


def returned(people: Array, cohorts: Array, actors: Array, size: int) -> Array:
    """Returns how many of each cohort are among the actors, all of whom are people."""
    return np.bincount(cohorts[np.searchsorted(people, actors)], minlength=size)


def cohort(
    bucket: Bucket, users: int, counts: Sequence[int], complete: Sequence[bool]
) -> dict[str, Any]:
    cells = [
        {"period": period, "users": n, "share": share(n, users), "complete": whole}
        for period, (n, whole) in enumerate(zip(counts, complete, strict=True))
    ]
    return {
        "start": rfc3339(bucket.start),
        "users": users,
        "complete": complete[0],
        "cells": cells,
    }
