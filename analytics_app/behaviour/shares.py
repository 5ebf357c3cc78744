"""Small things that several reports say: shares, groups by value, the largest first."""

from __future__ import annotations

import numpy as np

from analytics_app.behaviour.frames import Column
from analytics_app.behaviour.packing import Array
from analytics_app.behaviour.values import spelled


def share(part: int, whole: int) -> float:
    """Returns the share to six places; of nothing, 0."""
    return round(part / whole, 6) if whole else 0.0


def spelled_column(column: Column) -> tuple[list[str | None], Array]:
    """Returns the different spelled values and each event's code; None: it has no value."""
    numbers: dict[str | None, int] = {None: 0}
    words = [spelled(text) if text else None for text in column.texts]
    codes = np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int64)
    return list(numbers), codes[column.codes]


def ranked(values: list[str | None], counts: Array) -> list[int]:
    """Returns the codes of the values that occur, the most frequent first, then by value."""
    found: list[int] = np.flatnonzero(counts).tolist()
    return sorted(found, key=lambda n: (-counts[n], values[n] is None, values[n] or ""))
