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


def places(people: Array, actors: Array) -> tuple[Array, Array]:
    """Returns where each actor stands among the people (ascending), and which are there."""
    if not len(people):
        return np.zeros(len(actors), np.int64), np.zeros(len(actors), bool)
    low, high = int(people[0]), int(people[-1])
    if high - low >= DENSE * (len(people) + len(actors)):
        found = np.minimum(np.searchsorted(people, actors), len(people) - 1)
        return found, people[found] == actors
    table = np.full(high - low + 1, -1, np.int64)
    table[people - low] = np.arange(len(people))
    inside = (actors >= low) & (actors <= high)
    found = table[np.where(inside, actors - low, 0)]
    return found, inside & (found >= 0)


def starts(values: Array) -> Array:
    """Returns where in an ordered array a new number begins."""
    return np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])
