"""Where reports get their events: sealed days where they stand, raw events for the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from heapq import nsmallest

import numpy as np
from sqlalchemy import ColumnElement, Connection, func, or_, select

from analytics_app.behaviour import seals
from analytics_app.behaviour.columns import HALF, day_window
from analytics_app.behaviour.frames import (
    Frame,
    Story,
    Window,
    joined,
    joined_frames,
    joined_stories,
)
from analytics_app.behaviour.packing import Array
from analytics_app.behaviour.raw import Reader, within
from analytics_app.behaviour.sets import distinct
from analytics_app.deadlines import Deadline
from analytics_app.models import Event, Presence
from analytics_app.spans import Cut, Span, cut
from analytics_app.zones import QUARTERS_A_DAY, quarter_start

LOWER = (1 << HALF) - 1
KEYS_AT_ONCE = 32


class Source:
    """A reader of one snapshot; what it answers fits together."""

    def __init__(self, connection: Connection, deadline: Deadline) -> None:
        self.connection = connection
        self.deadline = deadline
        self.raw = Reader(connection, deadline)

    @cached_property
    def sealed(self) -> frozenset[int]:
        return seals.believable(self.connection)

    def split(self, window: Window, without: Iterable[int] = ()) -> tuple[list[int], list[Window]]:
        """Returns the sealed days of a window, and the pieces to read from raw events."""
        sealed = self.sealed.difference(without)
        days = [day for day in window.days() if day in sealed]
        pieces, start = [], window.start
        for day in days:
            whole = day_window(day)
            pieces.append(Window(start, max(start, whole.start)))
            start = min(whole.end, window.end)
        pieces.append(Window(start, window.end))
        return days, [piece for piece in pieces if piece.start < piece.end]

    def frame(self, event_type: str, window: Window, keys: Sequence[str] = ()) -> Frame:
        """Returns the events of a type within the window, in no order."""
        parts, rows = [], 0
        for part in self.frames(event_type, window, keys):
            parts.append(part)
            rows += len(part.actors)
            self.deadline.check(rows)
        return joined_frames(parts, keys, self.deadline)

    def frames(self, event_type: str, window: Window, keys: Sequence[str]) -> Iterator[Frame]:
        wide: Iterable[int] = ()
        if keys:
            wide = seals.wide_days(self.connection, event_type, self.split(window)[0])
        days, pieces = self.split(window, wide)
        for day, frame in seals.frames(self.connection, event_type, days, keys):
            self.deadline.check()
            yield frame if window.covers(day) else frame.within(window)
        for piece in pieces:
            yield self.raw.frame(event_type, piece, keys)

    def story(self, window: Window, *, timed: bool) -> Story:
        """Returns all events of somebody within the window, by actor, time and type."""
        days, pieces = self.split(window)
        found = {piece.start: self.raw.story(piece) for piece in pieces}
        exact = [day for day in days if timed or not window.covers(day)]
        for day, story in seals.stories(self.connection, days, exact):
            self.deadline.check()
            found[day_window(day).start] = story if window.covers(day) else story.within(window)
        story = joined_stories(
            [found[start] for start in sorted(found)], self.deadline, timed=timed
        )
        return story.where(story.actors != 0)

    def types(self, window: Window, wanted: Collection[str] = ()) -> list[str]:
        """Returns those of the types, or of all, that may have events there, largest first."""
        some = set(wanted)
        return [each for each in self.raw.types_by_size(window) if each in some or not some]

    def keys(self, event_type: str, window: Window, most: int) -> list[str]:
        """Returns the properties that events of a type may have, the most frequent if too many."""
        days, _ = self.split(window)
        wide = seals.wide_days(self.connection, event_type, days)
        days, pieces = self.split(window, wide)
        counts: Counter[str] = Counter()
        for piece in pieces:
            counts.update(self.raw.key_counts(event_type, piece))
        sealed = seals.keys_of(self.connection, event_type, days)
        if len(counts.keys() | set(sealed)) > most:
            counts.update(self.sealed_counts(event_type, window, days, sealed))
        else:
            counts.update(dict.fromkeys(sealed, 1))
        return nsmallest(most, self.deadline.watching(counts), key=lambda k: (-counts[k], k))

    def sealed_counts(
        self, event_type: str, window: Window, days: Sequence[int], keys: Sequence[str]
    ) -> Counter[str]:
        """Returns how many events of a type have each property on sealed days."""
        counts: Counter[str] = Counter()
        for some in batches(keys, KEYS_AT_ONCE):
            for day, frame in seals.frames(self.connection, event_type, days, some):
                self.deadline.check()
                inside = frame if window.covers(day) else frame.within(window)
                for key, column in inside.columns.items():
                    counts[key] += int(np.count_nonzero(column.codes))
        return counts

    def forget(self) -> None:
        """Lets go of what was read of raw events."""
        self.raw.forget()

    def present(self, cut: Cut) -> Array:
        """Returns the different actors who did anything in a span, in order."""
        parts = list(self.present_by_quarter(cut.first, cut.last))
        for end in cut.ends:
            chosen = select(Event.actor).where(
                *within(self.connection, Window.of(end)), Event.actor != 0
            )
            parts.append(self.raw.numbers(chosen.distinct()))
        self.deadline.check(sum(map(len, parts)))
        return distinct(joined(parts))

    def present_by_quarter(self, first: int, last: int) -> Iterator[Array]:
        """Returns who was present in the quarters `[first, last)`, in pieces."""
        if first >= last:
            return
        days = range(first // QUARTERS_A_DAY, -(-last // QUARTERS_A_DAY))
        sealed = [day for day in days if day in self.sealed]
        masks = {day: mask for day in (days[0], days[-1]) if (mask := wanted(day, first, last))}
        bits = seals.quarters(self.connection, [day for day in masks if day in self.sealed])
        for day, actors in seals.present(self.connection, sealed).items():
            self.deadline.check()
            yield actors[masked(bits[day], masks[day])] if day in masks else actors
        open_days = sorted(set(days).difference(sealed, masks))
        for run in runs(open_days):
            yield self.present_raw(Presence.day.between(run[0], run[-1]))
        for day, (low, high) in masks.items():
            if day not in self.sealed:
                seen = or_(Presence.low.op("&")(low) != 0, Presence.high.op("&")(high) != 0)
                yield self.present_raw(Presence.day == day, seen)

    def present_raw(self, *conditions: ColumnElement[bool]) -> Array:
        return self.raw.numbers(select(Presence.actor).where(*conditions).distinct())

    def present_before(self, moment: datetime) -> Array:
        """Returns the different actors who did anything before the moment."""
        first = self.connection.scalar(select(func.min(Presence.day)))
        if first is None:
            return joined([])
        beginning = quarter_start(first * QUARTERS_A_DAY)
        return self.present(cut(Span(min(beginning, moment), moment)))


def wanted(day: int, first: int, last: int) -> tuple[int, int] | None:
    """Returns which quarters of a day lie in `[first, last)`, as bits; None for all of them."""
    begins = day * QUARTERS_A_DAY
    since, until = max(0, first - begins), min(QUARTERS_A_DAY, last - begins)
    if (since, until) == (0, QUARTERS_A_DAY):
        return None
    bits = (1 << until) - (1 << since)
    return bits & LOWER, bits >> HALF


def masked(bits: tuple[Array, Array], mask: tuple[int, int]) -> Array:
    return ((bits[0] & mask[0]) | (bits[1] & mask[1])) != 0


def batches(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Returns the keys in groups of at most so many."""
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def runs(days: Sequence[int]) -> list[list[int]]:
    """Returns ascending days as lists of days that follow each other."""
    found: list[list[int]] = []
    for day in days:
        if found and found[-1][-1] == day - 1:
            found[-1].append(day)
        else:
            found.append([day])
    return found
