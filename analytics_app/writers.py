"""Ingest's own connections, and what each statement needs to know of the database."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, LifoQueue
from types import ModuleType
from typing import Any

from sqlalchemy import Engine

from analytics_app import dialects
from analytics_app.dialects.rows import Row, Stored
from analytics_app.groups import Groups
from analytics_app.outage import Outage, not_answering
from chassis.errors import Unavailable


class Lane:
    """One connection for ingest, opened when first needed; `slot` is where it counts."""

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.connection: Any = None


class Writers:
    """Stores rows through a few lanes; nobody waits longer than `timeout` seconds for one."""

    def __init__(self, engine: Engine, outage: Outage, *, lanes: int, timeout: float) -> None:
        self.engine = engine
        self.outage = outage
        self.timeout = timeout
        self.zone: str | None = None
        self.groups: Groups[Row, int | None] = Groups(self.numbers)
        self.lanes: LifoQueue[Lane] = LifoQueue()
        for number in range(lanes):
            self.lanes.put(Lane(number))

    @property
    def dialect(self) -> ModuleType:
        return dialects.of(self.engine)

    def one(self, row: Row) -> int | None:
        """Stores one row, together with whoever else is storing; None if it stayed out."""
        try:
            return self.groups.submit(row)
        except Unavailable:
            self.outage.note()
            raise

    def many(self, rows: Sequence[Row]) -> Sequence[int]:
        """Stores the sorted rows in one statement; returns the positions that stayed out."""
        return self.store(rows, numbered=False).refused

    def numbers(self, rows: list[Row]) -> list[int | None]:
        """Stores the rows of one group; returns each one's number, None for a repeat."""
        places: dict[tuple[object, ...], int] = {}
        for position, row in enumerate(rows):
            places.setdefault(row[:3], position)
        order = sorted(places.values(), key=lambda position: rows[position][:3])
        stored = self.store([rows[position] for position in order], numbered=True)
        numbers: list[int | None] = [None] * len(rows)
        for place, number in stored.ids.items():
            numbers[order[place]] = number
        return numbers

    def store(self, rows: Sequence[Row], *, numbered: bool) -> Stored:
        """Stores the rows; raises Unavailable when the database doesn't answer in time."""
        deadline = time.monotonic() + self.timeout
        with self.lane(deadline) as lane:
            outcome = self.attempt(lane, rows, numbered, deadline)
            if len(outcome.refused) == len(rows) and self.zone_changed(lane, deadline):
                outcome = self.attempt(lane, rows, numbered, deadline)
            return outcome

    def attempt(self, lane: Lane, rows: Sequence[Row], numbered: bool, deadline: float) -> Stored:
        if self.zone is None:
            self.zone_changed(lane, deadline)
        slot = self.dialect.KEPT_SLOT + 1 + (os.getpid() + lane.slot) % self.dialect.SLOTS
        stored: Stored = self.dialect.store(
            lane.connection, rows, self.zone, slot, numbered, deadline
        )
        return stored

    def zone_changed(self, lane: Lane, deadline: float) -> bool:
        """Reads the zone that counts_day is kept in; returns whether it is news."""
        before, self.zone = self.zone, self.dialect.kept_zone(lane.connection, deadline)
        return before != self.zone

    @contextmanager
    def lane(self, deadline: float) -> Iterator[Lane]:
        """Lends a lane with an open connection, which is closed if anything goes wrong."""
        try:
            lane = self.lanes.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            raise not_answering() from None
        try:
            if lane.connection is None:
                lane.connection = self.dialect.open_for_ingest(self.engine, deadline, self.timeout)
            yield lane
        except BaseException as error:
            self.dialect.close(lane.connection)
            lane.connection = None
            if self.dialect.is_outage(error):
                self.outage.note()
                raise not_answering() from error
            raise
        finally:
            self.lanes.put(lane)
