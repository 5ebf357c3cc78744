"""What goes into the store and what comes out of it, the same on every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple


class Row(NamedTuple):
    """One event, ready to be stored: times in UTC, metadata as compact JSON text."""

    actor: int
    created_at: datetime
    event_id: str
    event_type: str
    user_id: int | None
    metadata: str


@dataclass(slots=True)
class Stored:
    """What became of a list of rows; all other rows than `refused` are stored and counted.

    `ids` holds the stored rows' numbers by position, where they were asked for;
    `refused` the positions of the rows that were there already or may not come in.
    """

    ids: dict[int, int] = field(default_factory=dict)
    refused: Sequence[int] = ()
