"""Breakdown: an event type by the values of one key, with sums of it or of another key."""

from __future__ import annotations

from typing import Any

import numpy as np

from analytics_app.behaviour.filters import Filters, passing
from analytics_app.behaviour.frames import Column, Window
from analytics_app.behaviour.numbers import percentile, sum_and_average
from analytics_app.behaviour.packing import Array
from analytics_app.behaviour.sets import distinct
from analytics_app.behaviour.shares import grouped, marks, ranked, spelled_column
from analytics_app.behaviour.source import Source
from analytics_app.behaviour.values import number_of
from analytics_app.deadlines import Deadline

FIGURES = ("sum", "average", "median", "p95")


def breakdown(
    source: Source,
    event_type: str,
    window: Window,
    *,
    key: str,
    measure: str,
    filters: Filters,
    most: int,
    by_value: bool,
) -> dict[str, Any]:
    """Returns the most frequent values' figures, those of the rest, and of all together.

    Values of the same count stand in their own order, or if not `by_value` in one that says
    nothing about them.
    """
    keys = list(dict.fromkeys([key, measure, *filters]))
    frame = passing(source.frame(event_type, window, keys), filters, source.deadline)
    values, codes = spelled_column(frame.columns[key], source.deadline)
    numbers = numbers_of(frame.columns[measure], source.deadline)
    names = values if by_value else marks(frame, codes, len(values)).tolist()
    counts = np.bincount(codes, minlength=len(values))
    counts[0] = 0
    leading = ranked(names, counts, most, source.deadline)
    groups = grouped(codes, leading, len(values))
    lacking = codes == 0

    def of(mask: Array) -> dict[str, Any]:
        source.deadline.check(len(mask))
        return figures(frame.actors[mask], numbers[mask])

    return {
        "items": [{"value": values[code], **of(groups == n)} for n, code in enumerate(leading)],
        "other": {
            "values": int(np.count_nonzero(counts)) - len(leading),
            **of((groups == len(leading)) & ~lacking),
        },
        "without": of(lacking),
        "total": of(np.ones(len(codes), bool)),
    }


def numbers_of(column: Column, deadline: Deadline) -> Array:
    """Returns each event's number, NaN where the value is none."""
    found = [number_of(text) for text in deadline.watching(column.texts)]
    return np.array([np.nan if n is None else n for n in found])[column.codes]


def figures(actors: Array, numbers: Array) -> dict[str, Any]:
    """Returns counts, and the figures of the numbers among the values; None without any."""
    real = numbers[~np.isnan(numbers)]
    summed: dict[str, float | None] = dict.fromkeys(FIGURES)
    if len(real):
        real.sort()
        found = (*sum_and_average(real), percentile(real, 50), percentile(real, 95))
        summed = dict(zip(FIGURES, found, strict=True))
    users = len(distinct(actors[actors != 0]))
    return {"count": len(actors), "unique_users": users, **summed}
