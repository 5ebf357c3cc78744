"""Raw events -> columns: of today, of days that are not sealed, and of what is to be sealed."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import ColumnElement, Connection, Select, Text, cast, func, select

from analytics_app.behaviour.frames import Column, Frame, Story, Window
from analytics_app.behaviour.packing import Array
from analytics_app.behaviour.values import properties
from analytics_app.deadlines import Deadline
from analytics_app.dialects.columns import microseconds
from analytics_app.erased import unerased
from analytics_app.models import Count, Event
from analytics_app.zones import QUARTER_US, moment_at
from chassis.errors import FieldError, Invalid

CHUNK = 20_000
METADATA_CHUNK = 2_000  # each up to 16 KiB
MAX_METADATA_BYTES = 256 * 1024 * 1024
TOO_MUCH = "the metadata of events that are not sealed yet is over 256 MiB: narrow the range"


class Details(NamedTuple):
    """Events of a type: actors, times, and metadata as codes of texts."""

    actors: Array
    times: Array
    codes: Array
    texts: list[str]


@dataclass(slots=True)
class Words:
    """Numbers texts in the order in which they first appear."""

    known: dict[str, int] = field(default_factory=dict)

    def codes(self, texts: Sequence[str]) -> Array:
        known = self.known
        return np.array([known.setdefault(text, len(known)) for text in texts], np.int64)


@dataclass(slots=True)
class Values:
    """One key's values: in which texts it stands, and the numbers of its words there."""

    words: dict[str, int] = field(default_factory=lambda: {"": 0})
    texts: array[int] = field(default_factory=lambda: array("q"))
    numbers: array[int] = field(default_factory=lambda: array("q"))

    def add(self, text: int, word: str) -> None:
        self.texts.append(text)
        self.numbers.append(self.words.setdefault(word, len(self.words)))

    def column(self, details: Details) -> Column:
        found = np.zeros(len(details.texts), np.int32)
        found[np.array(self.texts)] = np.array(self.numbers)
        return Column(found[details.codes], list(self.words))


Index = dict[str, Values]


@dataclass(slots=True)
class Reader:
    """Reads raw events through one snapshot, a chunk at a time, until the deadline."""

    connection: Connection
    deadline: Deadline
    read: dict[tuple[str, Window, bool], Details] = field(default_factory=dict)
    indexes: dict[tuple[str, Window, tuple[str, ...] | None], Index] = field(default_factory=dict)
    metadata_bytes: int = 0

    def forget(self) -> None:
        """Lets go of what was read: nothing more is asked about those types."""
        self.read.clear()
        self.indexes.clear()
        self.metadata_bytes = 0

    def frame(self, event_type: str, window: Window, keys: Sequence[str] = ()) -> Frame:
        """Returns the events of a type, with the properties of these keys."""
        details = self.details(event_type, window, metadata=bool(keys))
        whole = self.indexes.get((event_type, window, None))
        index = whole or (self.index(event_type, window, tuple(keys)) if keys else {})
        columns = {key: index.get(key, Values()).column(details) for key in keys}
        return Frame(details.actors, details.times, columns)

    def key_counts(self, event_type: str, window: Window) -> Counter[str]:
        """Returns how many events of a type have each property."""
        details = self.details(event_type, window, metadata=True)
        index = self.index(event_type, window, None)
        events = np.bincount(details.codes, minlength=len(details.texts))
        watching = self.deadline.watching
        return Counter(
            {k: int(events[np.array(v.texts)].sum()) for k, v in watching(index.items())}
        )

    def index(self, event_type: str, window: Window, keys: tuple[str, ...] | None) -> Index:
        """Returns the values of these keys, of all if None; each text is parsed once for all."""
        asked = (event_type, window, keys)
        if asked not in self.indexes:
            texts = self.details(event_type, window, metadata=True).texts
            self.indexes[asked] = found = {}
            for number, text in enumerate(self.deadline.watching(texts)):
                for key, word in properties(text, keys).items():
                    if key not in found:
                        found[key] = Values()
                    found[key].add(number, word)
        return self.indexes[asked]

    def details(self, event_type: str, window: Window, *, metadata: bool) -> Details:
        """Returns the events; each is read once."""
        asked = (event_type, window, metadata)
        if asked not in self.read:
            self.read[asked] = self.details_read(*asked)
        return self.read[asked]

    def details_read(self, event_type: str, window: Window, metadata: bool) -> Details:
        chosen = select(Event.actor, microseconds(self.connection, Event.created_at))
        if metadata:
            chosen = chosen.add_columns(cast(Event.details, Text))
        chosen = chosen.where(Event.event_type == event_type, *within(self.connection, window))
        words, size = Words(), METADATA_CHUNK if metadata else CHUNK
        parts = [
            (a, t, self.coded(words, *rest or [()])) for a, t, *rest in self.chunks(chosen, size)
        ]
        actors, times, codes = (stacked([part[n] for part in parts]) for n in range(3))
        return Details(actors, times, codes, list(words.known))

    def coded(self, words: Words, texts: Sequence[str]) -> Array:
        """Returns the codes of metadata texts; raises Invalid for more than fits in here."""
        known = len(words.known)
        codes = words.codes(texts)
        if len(words.known) > known:
            firsts = np.unique(codes, return_index=True)
            new = firsts[1][firsts[0] >= known].tolist()
            self.metadata_bytes += sum(len(texts[n]) for n in new)
        if self.metadata_bytes > MAX_METADATA_BYTES:
            raise Invalid([FieldError("start", TOO_MUCH)])
        return codes

    def story(self, window: Window) -> Story:
        """Returns the events of all types, sorted by actor, time and type."""
        words = Words()
        chosen = select(
            Event.actor, microseconds(self.connection, Event.created_at), Event.event_type
        ).where(Event.event_type.in_(self.types(window)), *within(self.connection, window))
        parts = [(a, t, words.codes(kinds)) for a, t, kinds in self.chunks(chosen)]
        self.deadline.check(3 * sum(len(part[0]) for part in parts))
        actors, times, codes = (stacked([part[n] for part in parts]) for n in range(3))
        types, codes = by_name(words, codes)
        order = np.lexsort((codes, times, actors))
        return Story(actors[order], times[order], codes[order], types)

    def types(self, window: Window) -> list[str]:
        """Returns the types of the events around a window: with them, an index finds its rows."""
        return sorted(self.types_by_size(window))

    def types_by_size(self, window: Window) -> list[str]:
        """Returns them with the most frequent of the quarter-hours around the window first."""
        first, last = window.start // QUARTER_US, window.end // QUARTER_US
        size = func.sum(Count.count)
        chosen = select(Count.event_type).group_by(Count.event_type).order_by(size.desc())
        within = chosen.where(Count.quarter >= first, Count.quarter <= last, Count.count != 0)
        return list(self.connection.scalars(within.order_by(Count.event_type)))

    def numbers(self, chosen: Select[Any]) -> Array:
        """Returns a statement's only column."""
        found = self.connection.scalars(chosen).partitions(CHUNK)
        return stacked([np.array(some, np.int64) for some in self.deadline.watching(found)])

    def chunks(self, chosen: Select[Any], size: int = CHUNK) -> Iterator[tuple[Any, ...]]:
        """Returns actors and times as arrays, other columns as they are, chunk by chunk."""
        streamed = {"stream_results": True, "yield_per": size}
        for rows in self.connection.execute(chosen, execution_options=streamed).partitions():
            self.deadline.check()
            actors, times, *rest = zip(*rows, strict=True)
            yield np.array(actors, np.int64), np.array(times, np.int64), *rest


def within(connection: Connection, window: Window) -> tuple[ColumnElement[bool], ...]:
    start, end = moment_at(window.start), moment_at(window.end)
    return Event.created_at >= start, Event.created_at < end, *unerased(connection)


def stacked(parts: Sequence[Array]) -> Array:
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
