"""One UTC day in columns: built from its raw events, the same bytes each time.

A type's rows hold `actors`, `times` and one column for each property, `=key`; the rows of
the type '' hold the whole day in order, and who was there in which of its quarters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from sqlalchemy import Text, cast, select

from analytics_app.behaviour import packing
from analytics_app.behaviour.frames import Window
from analytics_app.behaviour.packing import DAY_US, Array
from analytics_app.behaviour.raw import (
    Reader,
    Words,
    by_name,
    columns_of,
    stacked,
    within,
)
from analytics_app.behaviour.values import properties
from analytics_app.dialects.columns import microseconds
from analytics_app.models import Event
from analytics_app.zones import QUARTER_US

ACTORS, TIMES, TYPES, PRESENT, QUARTERS, WIDE = (
    "actors",
    "times",
    "types",
    "present",
    "quarters",
    "wide",
)
MOST_KEYS = 100
HALF = 48

Cell = tuple[str, str, bytes]


def day_window(day: int) -> Window:
    return Window(day * DAY_US, (day + 1) * DAY_US)


def sealed(reader: Reader, day: int) -> Iterator[Cell]:
    """Returns the day's columns as (event type, name, bytes), nothing for an empty day."""
    window = day_window(day)
    types = reader.types(window)
    chosen = select(
        Event.actor,
        microseconds(reader.connection, Event.created_at),
        Event.event_type,
        cast(Event.details, Text),
    ).where(Event.event_type.in_(types), *within(reader.connection, window))
    names, texts = Words(), Words()
    parts = [
        (actors, times, names.codes(kinds), texts.codes(metadata))
        for actors, times, kinds, metadata in reader.chunks(chosen)
    ]
    if parts:
        actors, times, kinds, metadata = (stacked([p[n] for p in parts]) for n in range(4))
        yield from cells(actors, times - day * DAY_US, (names, kinds), (texts, metadata))


def cells(
    actors: Array, times: Array, kinds: tuple[Words, Array], metadata: tuple[Words, Array]
) -> Iterator[Cell]:
    """Sorts the events by actor, time and type, and packs them."""
    types, codes = by_name(*kinds)
    texts, details = by_name(*metadata)
    order = np.lexsort((details, codes, times, actors))
    actors, times, codes, details = (each[order] for each in (actors, times, codes, details))
    yield "", ACTORS, packing.packed_actors(actors)
    yield "", TIMES, packing.packed_times(times)
    yield "", TYPES, packing.packed_codes(codes, types)
    yield from presence(actors, times)
    for code, name in enumerate(types):
        mine = codes == code
        yield name, ACTORS, packing.packed_actors(actors[mine])
        yield name, TIMES, packing.packed_times(times[mine])
        yield from property_cells(name, texts, details[mine])


def presence(actors: Array, times: Array) -> Iterator[Cell]:
    """Packs the different actors, and the quarters in which each did anything."""
    somebody = actors != 0
    actors, quarters = actors[somebody], times[somebody] // QUARTER_US
    firsts = np.flatnonzero(np.diff(actors, prepend=0)) if len(actors) else actors
    low = np.where(quarters < HALF, np.int64(1) << (quarters % HALF), 0)
    high = np.where(quarters < HALF, 0, np.int64(1) << (quarters % HALF))
    yield "", PRESENT, packing.packed_actors(actors[firsts])
    if len(firsts):
        low, high = (np.bitwise_or.reduceat(bits, firsts) for bits in (low, high))
    yield "", QUARTERS, packing.packed_quarters(low, high)


def property_cells(name: str, texts: Sequence[str], details: Array) -> Iterator[Cell]:
    """Packs the properties of a type's events; of too many different keys, only a mark."""
    used, codes = np.unique(details, return_inverse=True)
    mine = [texts[n] for n in used]
    keys = sorted({key for text in mine for key in properties(text)})
    if len(keys) > MOST_KEYS:
        yield name, WIDE, b""
        return
    for key, column in columns_of(mine, codes, keys).items():
        yield name, f"={key}", packing.packed_codes(column.codes, column.texts)
