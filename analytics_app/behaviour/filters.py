"""Conditions on properties, as the lists of events have them: the value as text is one of some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analytics_app.behaviour.frames import Column, Frame
from analytics_app.behaviour.packing import Array
from analytics_app.behaviour.values import spelled
from analytics_app.deadlines import Deadline

Filters = Mapping[str, Sequence[str]]


def passing(frame: Frame, filters: Filters, deadline: Deadline) -> Frame:
    """Returns the events whose every named property spells one of its texts."""
    if not filters:
        return frame
    mask = np.ones(len(frame.actors), bool)
    for key, wanted in filters.items():
        mask &= spelling(frame.columns[key], wanted, deadline)
    return frame.where(mask)


def spelling(column: Column, wanted: Sequence[str], deadline: Deadline) -> Array:
    """Returns which events have a value that spells one of the texts."""
    chosen, texts = frozenset(wanted), deadline.watching(column.texts)
    verdicts = np.array([bool(text) and spelled(text) in chosen for text in texts], bool)
    found: Array = verdicts[column.codes]
    return found
