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
from analytics_app.dialects.rows import PartitionLimits, Row, Stored
from analytics_app.outage import Outage, not_answering
from chassis.errors import Unavailable

STALLED_SECONDS = 1.0


class Lane:
    """One connection for ingest, opened when first needed; `slot` is where it counts."""

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.connection: Any = None


class Busyness:
    """Which share of the last whole second something was under way."""

    def __init__(self) -> None:
        self.second = 0
        self.seconds = self.before = 0.0

    def add(self, seconds: float) -> None:
        """Notes that something was under way for so long until now."""
        self.turn_over()
        self.seconds += seconds

    def share(self) -> float:
        """Returns 0 for idle; 1 and more for busy all the time."""
        self.turn_over()
        return self.before

    def turn_over(self) -> None:
        now = int(time.monotonic())
        if now != self.second:
            self.before = self.seconds if now == self.second + 1 else 0.0
            self.second, self.seconds = now, 0.0


class Writers:
    """Stores rows through a few lanes; nobody waits longer than `timeout` seconds for one."""

    def __init__(
        self,
        engine: Engine,
        outage: Outage,
        *,
        lanes: int,
        timeout: float,
        partitions: PartitionLimits,
    ) -> None:
        self.engine = engine
        self.outage = outage
        self.timeout = timeout
        # What programs may have made, and what people may, who share a day's number.
        self.partitions = {True: PartitionLimits(partitions.a_request), False: partitions}
        self.zone: str | None = None
        self.under_way: dict[object, float] = {}
        self.busyness = Busyness()
        self.lanes: LifoQueue[Lane] = LifoQueue()
        for number in range(lanes):
            self.lanes.put(Lane(number))

    @property
    def dialect(self) -> ModuleType:
        return dialects.of(self.engine)

    def many(self, rows: Sequence[Row], *, trusted: bool) -> Stored:
        """Stores the sorted rows in one statement; numbers none of them."""
        deadline = time.monotonic() + self.timeout
        return self.store(rows, deadline, numbered=False, trusted=trusted)

    def together(self, rows: Sequence[Row], since: float, *, trusted: bool = True) -> Stored:
        """Stores single events in one statement, and numbers them; repeats are refused.

        Raises Unavailable when the timeout has passed `since`, and at once where others have
        waited for long: who comes behind them would wait longer than anybody may.
        """
        with self.patience():
            return self.numbered(rows, since + self.timeout, trusted)

    @contextmanager
    def patience(self) -> Iterator[None]:
        now, mark = time.monotonic(), object()
        if any(now - since > STALLED_SECONDS for since in list(self.under_way.values())):
            raise not_answering()
        self.under_way[mark] = now
        try:
            yield
        except Unavailable:
            self.outage.note()
            raise
        finally:
            del self.under_way[mark]

    def numbered(self, rows: Sequence[Row], deadline: float, trusted: bool) -> Stored:
        places: dict[tuple[object, ...], int] = {}
        for position, row in enumerate(rows):
            places.setdefault(row[:3], position)
        order = sorted(places.values(), key=lambda position: rows[position][:3])
        some = [rows[position] for position in order]
        return self.store(some, deadline, numbered=True, trusted=trusted).at(order)

    def store(
        self, rows: Sequence[Row], deadline: float, *, numbered: bool, trusted: bool
    ) -> Stored:
        """Stores the rows; raises Unavailable when the database doesn't answer in time."""
        begun = time.monotonic()
        try:
            return self.stored(rows, deadline, numbered, self.partitions[trusted])
        finally:
            self.busyness.add(time.monotonic() - begun)

    def stored(
        self, rows: Sequence[Row], deadline: float, numbered: bool, limits: PartitionLimits
    ) -> Stored:
        with self.lane(deadline) as lane:
            outcome = self.attempt(lane, rows, numbered, limits, deadline)
            if len(outcome.refused) == len(rows) and self.zone_changed(lane, deadline):
                outcome = self.attempt(lane, rows, numbered, limits, deadline)
            return outcome

    def attempt(
        self,
        lane: Lane,
        rows: Sequence[Row],
        numbered: bool,
        limits: PartitionLimits,
        deadline: float,
    ) -> Stored:
        if self.zone is None:
            self.zone_changed(lane, deadline)
        slot = self.dialect.KEPT_SLOT + 1 + (os.getpid() + lane.slot) % self.dialect.SLOTS
        stored: Stored = self.dialect.store(
            lane.connection, rows, self.zone, slot, numbered, limits, deadline
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
            lane = self.lanes.get(timeout=deadline - time.monotonic())
        except (Empty, ValueError):  # ValueError: the deadline is over
            raise not_answering() from None
        try:
            if lane.connection is None or self.dialect.has_ended(lane.connection):
                self.dialect.close(lane.connection)
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
