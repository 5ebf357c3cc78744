"""Properties: which keys the metadata of an event type has, and what kinds of values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from analytics_app.behaviour.frames import Frame, Window
from analytics_app.behaviour.packing import Array
from analytics_app.behaviour.sets import distinct
from analytics_app.behaviour.shares import ranked, share, spelled_texts
from analytics_app.behaviour.source import Source
from analytics_app.behaviour.values import kind_of
from analytics_app.deadlines import Deadline

MAX_LISTED_KEYS = 1_000
MAX_CELLS = 16_000_000  # events times keys that are held at once
MAX_KEYS_AT_ONCE = 64
FIRST_KEYS_AT_ONCE = 8  # while it isn't known how many events there are
SAMPLES = 5
LONGEST_SAMPLE = 200


def properties(source: Source, types: Sequence[str], window: Window) -> list[dict[str, Any]]:
    """Returns up to 1,000 keys in all: of the largest types, and of each the most frequent."""
    found: list[dict[str, Any]] = []
    for event_type in source.types(window, types):
        most = MAX_LISTED_KEYS - len(found)
        if not most:
            break
        rows = [row for row in of_type(source, event_type, window, most) if row["count"]]
        found += sorted(rows, key=lambda row: (-row["count"], row["key"]))
        source.forget()
    return found


def of_type(source: Source, event_type: str, window: Window, most: int) -> Iterator[dict[str, Any]]:
    keys = source.keys(event_type, window, most)
    at_once = FIRST_KEYS_AT_ONCE
    while keys:
        frame = source.frame(event_type, window, keys[:at_once])
        for key in keys[:at_once]:
            source.deadline.check(len(frame.actors))
            yield {"event_type": event_type, **of_key(frame, key, source.deadline)}
        keys = keys[at_once:]
        at_once = max(1, min(MAX_KEYS_AT_ONCE, MAX_CELLS // max(1, len(frame.actors))))


def of_key(frame: Frame, key: str, deadline: Deadline) -> dict[str, Any]:
    column = frame.columns[key]
    events = np.bincount(column.codes, minlength=len(column.texts))
    events[0] = 0
    values, codes = spelled_texts(column.texts, deadline)
    counts = np.bincount(codes, events).astype(np.int64)
    actors = frame.actors[column.codes != 0]
    frequent = ranked(values, counts, SAMPLES, deadline)
    return {
        "key": key,
        "count": len(actors),
        "share": share(len(actors), len(frame.actors)),
        "unique_users": len(distinct(actors[actors != 0])),
        "types": kinds_of(column.texts, events, deadline),
        "distinct_values": int(np.count_nonzero(counts)),
        "samples": [sample(values[code] or "") for code in frequent],
    }


def kinds_of(texts: Sequence[str], events: Array, deadline: Deadline) -> dict[str, int]:
    """Returns how many events have each kind of value, the most frequent kind first."""
    kinds: Counter[str] = Counter()
    for text, n in deadline.watching(zip(texts, events.tolist(), strict=True)):
        if n:
            kinds[kind_of(text)] += n
    return dict(sorted(kinds.items(), key=lambda each: (-each[1], each[0])))


def sample(value: str) -> str:
    return value if len(value) <= LONGEST_SAMPLE else value[: LONGEST_SAMPLE - 1] + "…"
