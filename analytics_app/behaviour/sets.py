"""Sets of numbers as ascending arrays: many times faster than numpy's own `unique`."""

from __future__ import annotations

import numpy as np

from analytics_app.behaviour.packing import Array

DENSE = 8


def distinct(values: Array) -> Array:
    """Returns the different numbers, ascending.

    Account ids lie close together: there it is enough to mark each in a table of all.
    """
    if not len(values):
        return values
    low, high = int(values.min()), int(values.max())
    if high - low < DENSE * len(values):
        seen = np.zeros(high - low + 1, bool)
        seen[values - low] = True
        return np.flatnonzero(seen) + low
    values = np.sort(values)
    return values[starts(values)]


def starts(values: Array) -> Array:
    """Returns where in an ordered array a new number begins."""
    return np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])
