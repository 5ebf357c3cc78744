"""Raw events -> columns: of today, of days that are not sealed, and of what is to be sealed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Select, Text, cast, select

from analytics_app.behaviour.deadlines import Deadline
from analytics_app.behaviour.frames import Column, Frame, Story, Window
from analytics_app.behaviour.packing import Array
from analytics_app.behaviour.values import properties
from analytics_app.dialects.columns import microseconds
from analytics_app.erased import unerased
from analytics_app.models import Count, Event
from analytics_app.zones import QUARTER_US, moment_at

CHUNK = 20_000

Details = tuple[Array, Array, Array, list[str]]


@dataclass(slots=True)
class Words:
    """Numbers texts in the order in which they first appear."""

    known: dict[str, int] = field(default_factory=dict)

    def codes(self, texts: Sequence[str]) -> Array:
        known = self.known
        return np.array([known.setdefault(text, len(known)) for text in texts], np.int64)


@dataclass(slots=True)
class Reader:
    """Reads raw events through one snapshot, a chunk at a time, until the deadline."""

    connection: Connection
    deadline: Deadline
    read: dict[tuple[str, Window, bool], Details] = field(default_factory=dict)

    def frame(self, event_type: str, window: Window, keys: Sequence[str] = ()) -> Frame:
        """Returns the events of a type, with the properties of these keys."""
        actors, times, codes, texts = self.details(event_type, window, metadata=bool(keys))
        return Frame(actors, times, columns_of(texts, codes, keys))

    def keys(self, event_type: str, window: Window) -> set[str]:
        """Returns the properties that events of a type have."""
        *_, texts = self.details(event_type, window, metadata=True)
        return {key for text in texts for key in properties(text)}

    def details(self, event_type: str, window: Window, *, metadata: bool) -> Details:
        """Returns actors, times and metadata as codes of texts; each is read once."""
        asked = (event_type, window, metadata)
        if asked not in self.read:
            self.read[asked] = self.details_read(*asked)
        return self.read[asked]

    def details_read(self, event_type: str, window: Window, metadata: bool) -> Details:
        chosen = select(Event.actor, microseconds(self.connection, Event.created_at))
        if metadata:
            chosen = chosen.add_columns(cast(Event.details, Text))
        chosen = chosen.where(Event.event_type == event_type, *within(self.connection, window))
        words = Words()
        parts = [(a, t, words.codes(*rest or [()])) for a, t, *rest in self.chunks(chosen)]
        actors, times, codes = (stacked([part[n] for part in parts]) for n in range(3))
        return actors, times, codes, list(words.known)

    def story(self, window: Window) -> Story:
        """Returns the events of all types, sorted by actor, time and type."""
        words = Words()
        chosen = select(
            Event.actor, microseconds(self.connection, Event.created_at), Event.event_type
        ).where(Event.event_type.in_(self.types(window)), *within(self.connection, window))
        parts = [(a, t, words.codes(kinds)) for a, t, kinds in self.chunks(chosen)]
        actors, times, codes = (stacked([part[n] for part in parts]) for n in range(3))
        types, codes = by_name(words, codes)
        order = np.lexsort((codes, times, actors))
        return Story(actors[order], times[order], codes[order], types)

    def types(self, window: Window) -> list[str]:
        """Returns the types of the events around a window: with them, an index finds its rows."""
        first, last = window.start // QUARTER_US, window.end // QUARTER_US
        chosen = select(Count.event_type).distinct()
        within = chosen.where(Count.quarter >= first, Count.quarter <= last, Count.count != 0)
        return sorted(self.connection.scalars(within))

    def chunks(self, chosen: Select[Any]) -> Iterator[tuple[Any, ...]]:
        """Returns actors and times as arrays, other columns as they are, chunk by chunk."""
        streamed = {"stream_results": True, "yield_per": CHUNK}
        for rows in self.connection.execute(chosen, execution_options=streamed).partitions():
            self.deadline.check()
            actors, times, *rest = zip(*rows, strict=True)
            yield np.array(actors, np.int64), np.array(times, np.int64), *rest


def within(connection: Connection, window: Window) -> tuple[ColumnElement[bool], ...]:
    start, end = moment_at(window.start), moment_at(window.end)
    return Event.created_at >= start, Event.created_at < end, *unerased(connection)


def stacked(parts: Sequence[Any]) -> Array:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def by_name(words: Words, codes: Array) -> tuple[list[str], Array]:
    """Returns the words in order, and the codes renumbered to it."""
    names = sorted(words.known)
    ranks = {name: rank for rank, name in enumerate(names)}
    numbers = np.array([ranks[name] for name in words.known], np.int64)
    return names, numbers[codes] if len(codes) else codes


def columns_of(texts: Sequence[str], codes: Array, keys: Sequence[str]) -> dict[str, Column]:
    """Returns the columns of keys from metadata texts; each different text is read once."""
    found = [properties(text) for text in texts]
    return {key: column([each.get(key, "") for each in found], codes) for key in keys}


def column(values: Sequence[str], codes: Array) -> Column:
    """Returns the column of `values[codes[n]]`, its texts in order after ''."""
    used = sorted({"", *values})
    ranks = {text: rank for rank, text in enumerate(used)}
    numbers = np.array([ranks[value] for value in values], np.int32)
    return Column(numbers[codes] if len(codes) else np.zeros(0, np.int32), used)
