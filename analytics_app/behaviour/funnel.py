"""Funnel: who does the steps in order within the window, and where the others stop.

An attempt begins with each event of the first step; each later step is the earliest event
that may follow: not before the step before it, after any earlier step of the same event
type, and within the window of the attempt's beginning. A person counts by the attempt that
got furthest, the first of them. All events lie within the range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analytics_app.behaviour.filters import Filters, passing
from analytics_app.behaviour.frames import Column, Frame, Window
from analytics_app.behaviour.packing import Array
from analytics_app.behaviour.sets import distinct, places
from analytics_app.behaviour.shares import grouped, ranked, share, spelled_column
from analytics_app.behaviour.source import Source
from analytics_app.deadlines import Deadline

NEVER = np.iinfo(np.int64).max
LARGEST_BITS = 62


@dataclass(frozen=True, slots=True)
class Step:
    """One step: an event of the type whose properties pass the filters."""

    event_type: str
    filters: Filters


@dataclass(slots=True)
class Attempts:
    """One attempt for each person: `times[k][n]` is when the n-th did step k.

    `depths` is how many steps each did; `column` a property of the first step's event.
    """

    actors: Array
    depths: Array
    times: list[Array]
    column: Column | None = None


def attempts(
    source: Source, steps: Sequence[Step], window: Window, within: int, by: str | None = None
) -> Attempts:
    """Returns each person's attempt; `within` is in microseconds, `by` a property's key."""
    first = events_of(source, steps[0], window, by)
    people = distinct(first.actors)
    ranks, _ = places(people, first.actors)
    first, ranks = in_order(first, ranks, by, source.deadline)
    times = [first.times]
    for number in range(1, len(steps)):
        later = events_of(source, steps[number], window)
        source.deadline.check(2 * (len(later.actors) + len(first.times)))
        bound = earliest(steps, number, times)
        times.append(next_times(people, ranks, later, bound, first.times + within))
    chosen, depths = furthest(ranks, times)
    column = first.columns[by] if by is not None else None
    return Attempts(
        people,
        depths,
        [each[chosen] for each in times],
        Column(column.codes[chosen], column.texts) if column else None,
    )


def in_order(frame: Frame, ranks: Array, by: str | None, deadline: Deadline) -> tuple[Frame, Array]:
    """Returns the events by person and time; at the same moment, by the property's value."""
    if by is not None:
        values = value_ranks(frame.columns[by], deadline)
        deadline.check(3 * len(ranks))
        order = np.lexsort((values, frame.times, ranks))
        return frame.where(order), ranks[order]
    if not len(ranks):
        return frame, ranks
    clock = Clock(frame.times, frame.times[:0], int(ranks.max()) + 1)
    keys = np.sort(clock.keys(ranks, clock.events), kind="stable")  # quick on sorted runs
    times, ranks = clock.split(keys)
    return Frame(frame.actors[:0], times), ranks


def value_ranks(column: Column, deadline: Deadline) -> Array:
    """Returns numbers that order the events as their values do, those without one last."""
    values, codes = spelled_column(column, deadline)
    order = deadline.ordered(range(len(values)), key=lambda n: (values[n] is None, values[n] or ""))
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks[codes]


def events_of(source: Source, step: Step, window: Window, by: str | None = None) -> Frame:
    keys = [*step.filters] if by is None or by in step.filters else [*step.filters, by]
    frame = passing(source.frame(step.event_type, window, keys), step.filters, source.deadline)
    return frame.where(frame.actors != 0)


def earliest(steps: Sequence[Step], number: int, times: Sequence[Array]) -> Array:
    """Returns from when on the step may be done: one event can't be two steps."""
    bound = times[-1]
    for before in range(number):
        if steps[before].event_type == steps[number].event_type:
            bound = np.maximum(bound, np.where(times[before] == NEVER, NEVER, times[before] + 1))
    return bound


def next_times(people: Array, ranks: Array, later: Frame, bound: Array, until: Array) -> Array:
    """Returns when each attempt did the step first from its bound on, NEVER if too late."""
    alive = np.flatnonzero((bound != NEVER) & (bound <= until))
    times = np.full(len(bound), NEVER)
    if not len(alive):
        return times
    standing, known = places(people, later.actors)
    if not known.any():
        return times
    clock = Clock(later.times[known], bound[alive], len(people))
    # A person and a moment as one number: sorted once, each attempt finds its next event.
    keys = np.sort(clock.keys(standing[known], clock.events), kind="stable")
    asked = clock.keys(ranks[alive], clock.bounds)
    nexts = np.searchsorted(keys, asked)
    found_times, found_ranks = clock.split(keys[np.minimum(nexts, len(keys) - 1)])
    good = (nexts < len(keys)) & (found_ranks == ranks[alive]) & (found_times <= until[alive])
    times[alive[good]] = found_times[good]
    return times


class Clock:
    """Moments as numbers of few bits, so that a person's rank fits into the bits above."""

    def __init__(self, events: Array, bounds: Array, people: int) -> None:
        both = np.concatenate((events, bounds))
        self.base, self.stamps = int(both.min()), None
        both -= self.base
        self.bits = int(both.max()).bit_length()
        if self.bits + people.bit_length() > LARGEST_BITS:
            self.stamps = distinct(both)
            both = np.searchsorted(self.stamps, both)
            self.bits = len(self.stamps).bit_length()
        self.events, self.bounds = both[: len(events)], both[len(events) :]

    def keys(self, ranks: Array, moments: Array) -> Array:
        """Returns numbers that order by person, then by moment."""
        return (ranks << self.bits) | moments

    def split(self, keys: Array) -> tuple[Array, Array]:
        """Returns the times and the ranks of keys."""
        moments = keys & ((1 << self.bits) - 1)
        times = moments if self.stamps is None else self.stamps[moments]
        return times + self.base, keys >> self.bits


def furthest(ranks: Array, times: Sequence[Array]) -> tuple[Array, Array]:
    """Returns each person's first attempt among those that got furthest, and how far."""
    if not len(ranks):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    depths = sum((each != NEVER).astype(np.int64) for each in times)
    size = len(ranks)
    scores = depths * size - np.arange(size)
    best = np.maximum.reduceat(scores, np.flatnonzero(np.diff(ranks, prepend=-1)))
    chosen = -best % size
    return chosen, depths[chosen]


def figures(found: Attempts, steps: Sequence[Step], chosen: Array) -> list[dict[str, Any]]:
    """Returns the users of each step among the chosen people, and the time it took them."""
    depths = found.depths[chosen]
    users = [int((depths > number).sum()) for number in range(len(steps))]
    return [
        {
            "event_type": step.event_type,
            "metadata": {key: list(texts) for key, texts in step.filters.items()},
            "users": users[number],
            "conversion": share(users[number], users[0]),
            "step_conversion": share(users[number], users[max(0, number - 1)]),
            "dropped": users[number - 1] - users[number] if number else 0,
            "median_seconds": median_seconds(found, chosen, number) if number else None,
        }
        for number, step in enumerate(steps)
    ]


def median_seconds(found: Attempts, chosen: Array, number: int) -> float | None:
    """Returns the median time from the step before among those who did the step."""
    there = chosen[found.depths[chosen] > number]
    if not len(there):
        return None
    took = found.times[number][there] - found.times[number - 1][there]
    return float(np.median(took)) / 1e6


def by_value(
    found: Attempts, steps: Sequence[Step], most: int, deadline: Deadline
) -> list[dict[str, Any]]:
    """Returns the figures for each value of the property, and for the rest as one."""
    if found.column is None:
        return []
    values, codes = spelled_column(found.column, deadline)
    counts = np.bincount(codes, minlength=len(values))
    leading = ranked(values, counts, most, deadline)
    groups = grouped(codes, leading, len(values))
    named = [(values[code], False) for code in leading]
    if np.count_nonzero(counts) > len(leading):
        named.append((None, True))
    answer = []
    for number, (value, other) in enumerate(named):
        deadline.check(len(codes))
        shown = figures(found, steps, np.flatnonzero(groups == number))
        answer.append({"value": value, "other": other, "steps": shown})
    return answer


def dropped_at(found: Attempts, number: int) -> Array:
    """Returns the positions of those who did the step before the numbered one, and not it."""
    order = np.lexsort((found.actors, -found.times[number - 1]))
    return order[found.depths[order] == number]
