"""Reads sealed days: which may be believed, and their columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from sqlalchemy import Connection, select, type_coerce
from sqlalchemy.types import NullType

from analytics_app.behaviour import packing
from analytics_app.behaviour.columns import ACTORS, PRESENT, QUARTERS, TIMES, TYPES, WIDE
from analytics_app.behaviour.frames import NO_TIMES, Column, Frame, Story
from analytics_app.behaviour.models import DirtyDay, SealedColumn, SealedDay
from analytics_app.behaviour.packing import Array
from analytics_app.deadlines import watched_rows
from analytics_app.models import Bookkeeping
from analytics_app.zones import QUARTERS_A_DAY, quarter_of

Cells = dict[str, dict[int, memoryview]]


def believable(connection: Connection) -> frozenset[int]:
    """Returns the days whose columns hold exactly what `events` holds."""
    dirty = select(DirtyDay.day).where(DirtyDay.day == SealedDay.day)
    first = first_kept(connection)
    chosen = select(SealedDay.day).where(SealedDay.ready, ~dirty.exists(), SealedDay.day >= first)
    return frozenset(day for (day,) in watched_rows(connection, chosen))


def first_kept(connection: Connection) -> int:
    """Returns the first UTC day whose raw events are kept."""
    dropped = connection.scalar(select(Bookkeeping.dropped_before))
    return quarter_of(dropped) // QUARTERS_A_DAY if dropped else 0


def cells(
    connection: Connection, event_type: str, names: Iterable[str], days: Sequence[int]
) -> Cells:
    """Returns the columns of these names by name and day."""
    found: Cells = {name: {} for name in names}
    if not days:
        return found
    # Untyped, the bytes come as they are: numpy reads them where they lie.
    data_as_is = type_coerce(SealedColumn.data, NullType())
    chosen = select(SealedColumn.name, SealedColumn.day, data_as_is).where(
        SealedColumn.event_type == event_type,
        SealedColumn.name.in_(list(found)),
        SealedColumn.day.between(min(days), max(days)),
    )
    wanted = frozenset(days)
    for name, day, data in watched_rows(connection, chosen):
        if day in wanted:
            found[name][day] = memoryview(data).cast("B")
    return found


def wide_days(connection: Connection, event_type: str, days: Sequence[int]) -> frozenset[int]:
    """Returns the days on which the type has too many keys to have been sealed."""
    return frozenset(cells(connection, event_type, [WIDE], days)[WIDE])


def keys_of(connection: Connection, event_type: str, days: Sequence[int]) -> list[str]:
    """Returns the properties that the type has on these days."""
    if not days:
        return []
    chosen = select(SealedColumn.name).where(
        SealedColumn.event_type == event_type,
        SealedColumn.name.startswith("="),
        SealedColumn.day.between(min(days), max(days)),
    )
    return sorted(name[1:] for (name,) in watched_rows(connection, chosen.distinct()))


def frames(
    connection: Connection, event_type: str, days: Sequence[int], keys: Sequence[str]
) -> Iterator[tuple[int, Frame]]:
    """Returns each day's events of a type, where there are some."""
    named = {key: f"={key}" for key in keys}
    found = cells(connection, event_type, [ACTORS, TIMES, *named.values()], days)
    for day, data in sorted(found[ACTORS].items()):
        actors = packing.unpacked_actors(data)
        times = packing.unpacked_times(found[TIMES][day], day)
        columns = {k: column(found[name].get(day), len(actors)) for k, name in named.items()}
        yield day, Frame(actors, times, columns)


def column(data: memoryview | None, length: int) -> Column:
    """Returns the property, or nothing for all events where none of them has it."""
    if data is None:
        return Column(np.zeros(length, np.int32), [""])
    return Column(*packing.unpacked_codes(data))


def stories(
    connection: Connection, days: Sequence[int], timed: Sequence[int]
) -> Iterator[tuple[int, Story]]:
    """Returns each day's events of all types in order, with their times on the timed days."""
    found = cells(connection, "", [ACTORS, TYPES], days)
    stamps = cells(connection, "", [TIMES], timed)[TIMES]
    for day, data in sorted(found[ACTORS].items()):
        codes, types = packing.unpacked_codes(found[TYPES][day])
        times = packing.unpacked_times(stamps[day], day) if day in stamps else NO_TIMES
        yield day, Story(packing.unpacked_actors(data), times, codes, types)


def present(connection: Connection, days: Sequence[int]) -> dict[int, Array]:
    """Returns who was there on each of the days."""
    found = cells(connection, "", [PRESENT], days)[PRESENT]
    return {day: packing.unpacked_actors(data) for day, data in found.items()}


def quarters(connection: Connection, days: Sequence[int]) -> dict[int, tuple[Array, Array]]:
    """Returns the quarters in which each of those present was there: low and high bits."""
    found = cells(connection, "", [QUARTERS], days)[QUARTERS]
    return {day: packing.unpacked_quarters(data) for day, data in found.items()}
