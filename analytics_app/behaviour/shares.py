"""Small things that several reports say: shares, groups by value, the largest first."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nsmallest
from typing import Any

import numpy as np

from analytics_app.behaviour.frames import Column, Frame
from analytics_app.behaviour.packing import Array
from analytics_app.behaviour.values import spelled
from analytics_app.deadlines import Deadline


def share(part: int, whole: int) -> float:
    """Returns the share to six places; of nothing, 0."""
    return round(part / whole, 6) if whole else 0.0


def spelled_column(column: Column, deadline: Deadline) -> tuple[list[str | None], Array]:
    """Returns the different spelled values and each event's code; None: it has no value."""
    values, numbers = spelled_texts(column.texts, deadline)
    return values, numbers[column.codes]


def spelled_texts(texts: Sequence[str], deadline: Deadline) -> tuple[list[str | None], Array]:
    """Returns the different spelled values and each text's code, 0 and None for ''."""
    known: dict[str | None, int] = {None: 0}
    words = (spelled(text) if text else None for text in deadline.watching(texts))
    codes = np.array([known.setdefault(word, len(known)) for word in words], np.int64)
    return list(known), codes


def marks(frame: Frame, codes: Array, size: int) -> Array:
    """Returns a number for each code: of when and by whom its events are, and nothing else.

    Values in this order tell no more of themselves than their events do. Each event's number
    is mixed well, so that different sets of events have different sums.
    """
    found = np.zeros(size, np.uint64)
    times, actors = frame.times.astype(np.uint64), frame.actors.astype(np.uint64)
    np.add.at(found, codes, mixed(mixed(times) ^ actors))
    return found


def mixed(numbers: Array) -> Array:
    """Returns numbers in which every bit depends on every bit (splitmix64)."""
    with np.errstate(over="ignore"):
        numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
        numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return numbers ^ (numbers >> np.uint64(31))


def ranked(names: Sequence[Any], counts: Array, most: int, deadline: Deadline) -> list[int]:
    """Returns the codes of the most frequent values, the most frequent first, then by name."""
    codes = deadline.watching(candidates(counts, most))
    return nsmallest(most, codes, key=lambda n: (-counts[n], names[n] is None, names[n]))


def candidates(counts: Array, most: int) -> list[int]:
    """Returns the codes that occur, without those too rare to be among so many."""
    kept = np.flatnonzero(counts)
    if len(kept) > most:
        least = np.partition(counts[kept], -most)[-most]
        kept = kept[counts[kept] >= least]
    found: list[int] = kept.tolist()
    return found


def grouped(codes: Array, leading: Sequence[int], size: int) -> Array:
    """Returns each event's group: the place of its code among the leading ones, or after them."""
    places = np.full(size, len(leading), np.int64)
    places[list(leading)] = np.arange(len(leading))
    return places[codes]
