"""Properties: which keys the metadata of an event type has, and what kinds of values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from analytics_app.behaviour.frames import Frame, Window
from analytics_app.behaviour.sets import distinct
from analytics_app.behaviour.shares import ranked, share, spelled_column
from analytics_app.behaviour.source import Source
from analytics_app.behaviour.values import kind_of

MOST_KEYS = 200
SAMPLES = 5
LONGEST_SAMPLE = 200


def properties(source: Source, types: Sequence[str], window: Window) -> list[dict[str, Any]]:
    """Returns the keys of each type, the most frequent first."""
    found = []
    for event_type in types or source.types(window):
        keys = source.keys(event_type, window)[:MOST_KEYS]
        rows = [of_key(source, event_type, key, window) for key in keys]
        found += sorted((row for row in rows if row["count"]), key=lambda row: -row["count"])
    return found


def of_key(source: Source, event_type: str, key: str, window: Window) -> dict[str, Any]:
    frame = source.frame(event_type, window, [key])
    having = frame.where(frame.columns[key].codes != 0)
    values, counts, kinds = summed(having, key)
    frequent = ranked(values, counts)
    samples = [sample(values[code] or "") for code in frequent[:SAMPLES]]
    return {
        "event_type": event_type,
        "key": key,
        "count": len(having.actors),
        "share": share(len(having.actors), len(frame.actors)),
        "unique_users": len(distinct(having.actors[having.actors != 0])),
        "types": dict(sorted(kinds.items(), key=lambda each: (-each[1], each[0]))),
        "distinct_values": len(frequent),
        "samples": samples,
    }


def summed(frame: Frame, key: str) -> tuple[list[str | None], Any, Counter[str]]:
    """Returns the spelled values, how often each occurs, and how often each kind does."""
    column = frame.columns[key]
    kinds: Counter[str] = Counter()
    counts = np.bincount(column.codes, minlength=len(column.texts))
    for text, n in zip(column.texts, counts.tolist(), strict=True):
        if n:
            kinds[kind_of(text)] += n
    values, codes = spelled_column(column)
    return values, np.bincount(codes, minlength=len(values)), kinds


def sample(value: str) -> str:
    return value if len(value) <= LONGEST_SAMPLE else value[: LONGEST_SAMPLE - 1] + "…"
