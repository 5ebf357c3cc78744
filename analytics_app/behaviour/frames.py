"""Events as columns: what the reports are computed on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from analytics_app.behaviour.packing import DAY_US, Array
from analytics_app.deadlines import Deadline
from analytics_app.spans import Span
from analytics_app.zones import microseconds

NO_TIMES = np.zeros(0, np.int64)


class Window(NamedTuple):
    """A half-open span in microseconds since 1970."""

    start: int
    end: int

    @classmethod
    def of(cls, span: Span) -> Window:
        return cls(microseconds(span.start), microseconds(span.end))

    def days(self) -> range:
        """Returns the UTC days that the window touches."""
        return range(self.start // DAY_US, -(-self.end // DAY_US))

    def covers(self, day: int) -> bool:
        return self.start <= day * DAY_US and (day + 1) * DAY_US <= self.end


@dataclass(slots=True)
class Column:
    """One property of each event: `texts[codes[n]]`, JSON; code 0 where there is none."""

    codes: Array
    texts: list[str]


@dataclass(slots=True)
class Frame:
    """Events of one type: actors, times in microseconds since 1970, properties by key."""

    actors: Array
    times: Array
    columns: dict[str, Column] = field(default_factory=dict)

    def where(self, mask: Array) -> Frame:
        """Returns the events that the mask (or the order) selects."""
        if mask.dtype == bool and mask.all():
            return self
        columns = {k: Column(c.codes[mask], c.texts) for k, c in self.columns.items()}
        return Frame(self.actors[mask], self.times[mask], columns)

    def within(self, window: Window) -> Frame:
        return self.where((self.times >= window.start) & (self.times < window.end))


@dataclass(slots=True)
class Story:
    """Events of all types by actor, time and type: `types[codes[n]]` is the n-th's.

    `times` is empty where only their order is of use.
    """

    actors: Array
    times: Array
    codes: Array
    types: list[str]

    def where(self, mask: Array) -> Story:
        times = self.times[mask] if len(self.times) else self.times
        return Story(self.actors[mask], times, self.codes[mask], self.types)

    def within(self, window: Window) -> Story:
        return self.where((self.times >= window.start) & (self.times < window.end))


def joined(parts: Sequence[Array]) -> Array:
    return np.concatenate(parts) if parts else NO_TIMES


def recoded(
    parts: Iterable[tuple[Array, list[str]]], texts: Sequence[str], deadline: Deadline
) -> Column:
    """Returns parts with texts of their own under one numbering, which begins with `texts`."""
    known = {text: number for number, text in enumerate(texts)}
    codes = []
    for own, words in parts:
        numbers = [known.setdefault(word, len(known)) for word in deadline.watching(words)]
        codes.append(np.array(numbers, np.int32)[own])
    return Column(joined(codes) if codes else np.zeros(0, np.int32), list(known))


def joined_frames(parts: Sequence[Frame], keys: Iterable[str], deadline: Deadline) -> Frame:
    """Returns the parts as one frame that has these keys."""
    columns = {}
    for key in keys:
        pairs = ((part.columns[key].codes, part.columns[key].texts) for part in parts)
        columns[key] = recoded(pairs, [""], deadline)
    actors, times = joined([p.actors for p in parts]), joined([p.times for p in parts])
    return Frame(actors, times, columns)


def joined_stories(parts: Sequence[Story], deadline: Deadline, *, timed: bool) -> Story:
    """Returns parts that follow each other in time as one story, sorted by actor again.

    Types are numbered in the order of their names.
    """
    types = sorted({name for part in parts for name in part.types})
    column = recoded(((part.codes, part.types) for part in parts), types, deadline)
    deadline.check(2 * sum(len(part.actors) for part in parts))
    actors = joined([part.actors for part in parts])
    order = np.argsort(actors, kind="stable")
    times = joined([part.times for part in parts])[order] if timed else NO_TIMES
    return Story(actors[order], times, column.codes[order], column.texts)
