"""Paths: what people do next after an event type, or what they did before it.

Repeats of one type in a row are folded into one step. A path begins at each (folded)
occurrence of the event type and follows the same person's next steps within the range; with
a gap, it ends where nothing happens for longer. Only the most frequent paths of each level
go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analytics_app.behaviour.frames import Story, Window
from analytics_app.behaviour.packing import Array
from analytics_app.behaviour.sets import distinct
from analytics_app.behaviour.shares import share
from analytics_app.behaviour.source import Source


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
    if event_type not in story.types:
        return {"users": 0, "occurrences": 0, "levels": empty_levels(levels)}
    walk = folded(story, gap, backwards)
    at = np.flatnonzero(walk.codes == story.types.index(event_type))
    users = len(distinct(walk.people[at]))
    found = levels_of(walk, at, story.types, levels, most, users)
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


def levels_of(
    walk: Walk, at: Array, types: list[str], levels: int, most: int, users: int
) -> list[dict[str, Any]]:
    """Returns each level's most frequent paths, the rest, and those that ended before it."""
    known: list[list[str]] = [[]]
    here, parents = at, np.zeros(len(at), np.int64)
    found = []
    for level in range(1, levels + 1):
        goes_on = walk.follows[here]
        ended = tally(walk.people[here[~goes_on]], users)
        here, parents = here[goes_on] + 1, parents[goes_on]
        steps = parents * len(types) + walk.codes[here]
        numbers = distinct(steps)
        codes = np.searchsorted(numbers, steps)
        named = [[*known[n // len(types)], types[n % len(types)]] for n in numbers.tolist()]
        tallies = tallies_of(walk.people[here], codes, len(named), users)
        order = sorted(range(len(named)), key=lambda n: (*rank(tallies[n]), named[n]))
        kept = order[:most]
        places = np.full(len(named), -1)
        places[kept] = np.arange(len(kept))
        parents = places[codes]
        other = tally(walk.people[here[parents < 0]], users)
        items = [{"path": named[n], **tallies[n]} for n in kept]
        found.append({"level": level, "items": items, "other": other, "ended": ended})
        here, parents, known = here[parents >= 0], parents[parents >= 0], [named[n] for n in kept]
    return found


def rank(tally: dict[str, Any]) -> tuple[int, int]:
    return -tally["users"], -tally["count"]


def tallies_of(people: Array, codes: Array, size: int, users: int) -> list[dict[str, Any]]:
    """Returns the tally of each code."""
    everybody = int(people.max()) + 1 if len(people) else 1
    different = np.bincount(distinct(codes * everybody + people) // everybody, minlength=size)
    counts = np.bincount(codes, minlength=size)
    return [
        {"users": int(n), "count": int(count), "share": share(int(n), users)}
        for n, count in zip(different, counts, strict=True)
    ]


def tally(people: Array, users: int) -> dict[str, Any]:
    """Returns how many different people, how often, and their share of all at the start."""
    different = len(distinct(people))
    return {"users": different, "count": len(people), "share": share(different, users)}
