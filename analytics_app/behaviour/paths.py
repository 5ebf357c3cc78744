"""Paths: what people do next after an event type, or what they did before it.

Repeats of one type in a row are folded into one step. A path begins at each (folded)
occurrence of the event type and follows the same person's next steps within the range; with
a gap, it ends where nothing happens for longer. Only the most frequent paths of each level
go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import nsmallest
from typing import Any

import numpy as np

from analytics_app.behaviour.frames import Story, Window
from analytics_app.behaviour.packing import Array
from analytics_app.behaviour.sets import distinct
from analytics_app.behaviour.shares import candidates, grouped, share
from analytics_app.behaviour.source import Source
from analytics_app.deadlines import Deadline


@dataclass(slots=True)
class Walk:
    """Folded steps in the order of walking; `follows[n]`: step n+1 goes on where n stood.

    People are numbered from 0 on.
    """

    people: Array
    codes: Array
    follows: Array


def paths(
    source: Source,
    event_type: str,
    window: Window,
    *,
    backwards: bool,
    levels: int,
    most: int,
    gap: int | None,
) -> dict[str, Any]:
    """Returns the users at the event type and each level's paths; `gap` in microseconds."""
    story = source.story(window, timed=gap is not None)
    if event_type not in story.types or not len(story.actors):
        return {"users": 0, "occurrences": 0, "levels": empty_levels(levels)}
    walk = folded(story, gap, backwards)
    at = np.flatnonzero(walk.codes == story.types.index(event_type))
    users = len(distinct(walk.people[at]))
    found = levels_of(walk, at, story.types, levels, most, users, source.deadline)
    return {"users": users, "occurrences": len(at), "levels": found}


def empty_levels(levels: int) -> list[dict[str, Any]]:
    none = {"users": 0, "count": 0, "share": 0.0}
    return [{"level": n + 1, "items": [], "other": none, "ended": none} for n in range(levels)]


def folded(story: Story, gap: int | None, backwards: bool) -> Walk:
    """Returns the story without repeats, in the direction of walking."""
    same = story.actors[1:] == story.actors[:-1]
    if gap is not None:
        same &= story.times[1:] - story.times[:-1] <= gap
    keep = np.append(True, ~same | (story.codes[1:] != story.codes[:-1]))
    kept = np.flatnonzero(keep)
    follows = np.append(same[kept[1:] - 1], False)
    people = np.cumsum(np.append(False, story.actors[1:] != story.actors[:-1]))[kept]
    codes = story.codes[kept].astype(np.int64)
    if backwards:
        return Walk(people[::-1], codes[::-1], np.append(follows[:-1][::-1], False))
    return Walk(people, codes, follows)


@dataclass(slots=True)
class Front:
    """Where walkers stand: `here` in the walk, on the path `known[parents[n]]`."""

    here: Array
    parents: Array
    known: list[list[str]]


def levels_of(
    walk: Walk, at: Array, types: list[str], levels: int, most: int, users: int, deadline: Deadline
) -> list[dict[str, Any]]:
    """Returns each level's most frequent paths, the rest, and those that ended before it."""
    front = Front(at, np.zeros(len(at), np.int64), [[]])
    found = []
    for level in range(1, levels + 1):
        deadline.check(4 * len(front.here))
        found.append({"level": level, **walked_on(walk, front, types, most, users, deadline)})
    return found


def walked_on(
    walk: Walk, front: Front, types: list[str], most: int, users: int, deadline: Deadline
) -> dict[str, Any]:
    """Takes everybody one step further; returns the level that they get to."""
    goes_on = walk.follows[front.here]
    ended = tally(walk.people[front.here[~goes_on]], users)
    here = front.here[goes_on] + 1
    steps = front.parents[goes_on] * len(types) + walk.codes[here]
    numbers = distinct(steps)
    codes = np.searchsorted(numbers, steps)
    different, counts = tallies(walk.people[here], codes, len(numbers))

    def name(n: int) -> list[str]:
        return [*front.known[numbers[n] // len(types)], types[numbers[n] % len(types)]]

    def rank(n: int) -> tuple[int, int, list[str]]:
        return -different[n], -counts[n], name(n)

    kept = nsmallest(most, deadline.watching(candidates(different, most)), key=rank)
    parents = grouped(codes, kept, len(numbers))
    going, names = parents < len(kept), [name(n) for n in kept]
    items = [
        {"path": path, **tallied(int(different[n]), int(counts[n]), users)}
        for path, n in zip(names, kept, strict=True)
    ]
    other = tally(walk.people[here[~going]], users)
    front.here, front.parents, front.known = here[going], parents[going], names
    return {"items": items, "other": other, "ended": ended}


def tallies(people: Array, codes: Array, size: int) -> tuple[Array, Array]:
    """Returns the different people and the occurrences of each code."""
    everybody = int(people.max()) + 1 if len(people) else 1
    different = distinct(codes * everybody + people) // everybody
    return np.bincount(different, minlength=size), np.bincount(codes, minlength=size)


def tally(people: Array, users: int) -> dict[str, Any]:
    """Returns how many different people, how often, and their share of all at the start."""
    return tallied(len(distinct(people)), len(people), users)


def tallied(different: int, count: int, users: int) -> dict[str, Any]:
    return {"users": different, "count": count, "share": share(different, users)}
