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

    `ids` holds the stored rows' numbers by position, where they were asked for; `refused`
    the positions of the rows that were there already or may not come in, among them the
    `unregistered`, whose event type has no name here, and the `homeless`, which would need
    a partition more than may be made.
    """

    ids: dict[int, int] = field(default_factory=dict)
    refused: Sequence[int] = ()
    unregistered: Sequence[int] = ()
    homeless: Sequence[int] = ()

    def at(self, places: Sequence[int], homeless: Sequence[int] = ()) -> Stored:
        """Returns this for rows that stand at other places, beside homeless ones."""
        refused = sorted([*(places[each] for each in self.refused), *homeless])
        return Stored(
            {places[position]: number for position, number in self.ids.items()},
            refused,
            [places[each] for each in self.unregistered],
            [*(places[each] for each in self.homeless), *homeless],
        )


class PartitionLimits(NamedTuple):
    """How many partitions one request may have made, and, where it counts, a day's requests."""

    a_request: int
    a_day: int | None = None
