"""Reads the rollups: how many events, how many different actors, in exact spans of time.

A span is cut into whole quarters, which the rollups hold, and what is left at its ends,
which is read from the raw events: less than a quarter-hour on each side.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Select, func, literal, select

from analytics_app.actors import (
    actors_beside,
    actors_by_type,
    by_minute,
    distinct_actors,
    distinct_actors_of_types,
)
from analytics_app.deadlines import watched_rows
from analytics_app.erased import unerased
from analytics_app.models import Bookkeeping, Count, DayCount, Event
from analytics_app.spans import Cut, Span, cut
from analytics_app.zones import (
    EPOCH,
    ONE_DAY,
    date_of,
    first_quarter,
    is_midnight,
    local_date,
    midnight,
    quarter_start,
)
from chassis.errors import FieldError, Invalid


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to read: its counts by type and by time, and when what it counts begins."""

    by_type: Select[Any]
    by_time: Select[Any]
    event_type: Any
    begins: Any

    def of(self, types: Sequence[str]) -> Select[Any]:
        """Returns the counts by time of these types, of all if none."""
        return self.by_time.where(self.event_type.in_(types)) if types else self.by_time

    def of_each(self, types: Sequence[str]) -> Select[Any]:
        """Returns the counts by type of these types, of all if none."""
        return self.by_type.where(self.event_type.in_(types)) if types else self.by_type

    def by_both(self, types: Sequence[str]) -> Select[Any]:
        """Returns the counts by time and type."""
        return self.of(types).add_columns(self.event_type).group_by(self.event_type)


def quarters_part(first: int, last: int) -> Part:
    within = (Count.quarter >= first, Count.quarter < last)
    return Part(
        select(Count.event_type, func.sum(Count.count)).where(*within).group_by(Count.event_type),
        select(Count.quarter, func.sum(Count.count)).where(*within).group_by(Count.quarter),
        Count.event_type,
        quarter_start,
    )


def days_part(first: int, last: int, zone: ZoneInfo) -> Part:
    within = (DayCount.day >= first, DayCount.day < last)
    day, kind, count = DayCount.day, DayCount.event_type, func.sum(DayCount.count)
    return Part(
        select(kind, count).where(*within).group_by(kind),
        select(day, count).where(*within).group_by(day),
        kind,
        lambda number: midnight(date_of(number), zone),
    )


def raw_part(connection: Connection, span: Span) -> Part:
    """A span of less than a quarter counts at its start: it lies within one bucket."""
    within = (
        Event.created_at >= span.start,
        Event.created_at < span.end,
        *unerased(connection),
    )
    return Part(
        select(Event.event_type, func.count()).where(*within).group_by(Event.event_type),
        select(literal(0), func.count()).select_from(Event).where(*within),
        Event.event_type,
        lambda _: span.start,
    )


class Rollups:
    """A reader on one connection; in one snapshot, everything it answers fits together."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        kept = select(
            Bookkeeping.reporting_zone, Bookkeeping.days_ready, Bookkeeping.dropped_before
        )
        zone, self.days_ready, self.dropped_before = connection.execute(kept).one()
        self.zone = ZoneInfo(zone)

    def need_raw(self, since: datetime, field: str = "start") -> None:
        """Raises Invalid where raw events are needed from before what retention dropped."""
        if self.dropped_before and since < self.dropped_before:
            day = f"{self.dropped_before:%Y-%m-%d}"
            said = f"the events before {day} were dropped by retention: begin there or later"
            raise Invalid([FieldError(field, said)])

    def by_type(self, span: Span, types: Sequence[str] = ()) -> Counter[str]:
        """Returns the number of events of each of the types (all if none)."""
        found: Counter[str] = Counter()
        for part in self.parts(span, by_day=True):
            for event_type, n in watched_rows(self.connection, part.of_each(types)):
                found[event_type] += int(n)
        return found

    def in_buckets(
        self, span: Span, starts: Sequence[datetime], zone: ZoneInfo, types: Sequence[str] = ()
    ) -> list[int]:
        """Returns the number of events of the types (all if none) in each bucket."""
        totals = [0] * len(starts)
        for part in self.parts(span, by_day=self.are_days(starts, zone)):
            for time, n in watched_rows(self.connection, part.of(types)):
                totals[bisect_right(starts, part.begins(time)) - 1] += int(n)
        return totals

    def in_buckets_by_type(
        self, span: Span, starts: Sequence[datetime], zone: ZoneInfo, types: Sequence[str] = ()
    ) -> list[Counter[str]]:
        """Returns the number of events of each of the types (all if none) in each bucket."""
        found: list[Counter[str]] = [Counter() for _ in starts]
        for part in self.parts(span, by_day=self.are_days(starts, zone)):
            for time, n, event_type in watched_rows(self.connection, part.by_both(types)):
                if n:
                    found[bisect_right(starts, part.begins(time)) - 1][event_type] += int(n)
        return found

    def are_days(self, starts: Sequence[datetime], zone: ZoneInfo) -> bool:
        """Whether such buckets can be had from the counts by day."""
        return zone.key == self.zone.key and all(is_midnight(each, zone) for each in starts)

    def parts(self, span: Span, *, by_day: bool) -> Iterator[Part]:
        """Returns what to read for a span: whole days where allowed, quarters, raw ends."""
        whole = cut(span)
        for end in whole.ends:
            self.need_raw(end.start)
            yield raw_part(self.connection, end)
        days = self.whole_days(whole) if by_day and self.days_ready else None
        if days is None:
            yield quarters_part(whole.first, whole.last)
            return
        first, last = (first_quarter(day, self.zone) for day in days)
        yield days_part(*days, self.zone)
        for around in ((whole.first, first), (last, whole.last)):
            if around[0] < around[1]:
                yield quarters_part(*around)

    def whole_days(self, whole: Cut) -> tuple[int, int] | None:
        """Returns the days of the reporting zone that lie within, as `[first, last)`."""
        if whole.last - whole.first < 96:
            return None
        start, end = quarter_start(whole.first), quarter_start(whole.last)
        first = local_date(start, self.zone)
        if midnight(first, self.zone) < start:
            first += ONE_DAY
        last = local_date(end, self.zone)
        numbers = first.toordinal() - EPOCH, last.toordinal() - EPOCH
        return numbers if numbers[0] < numbers[1] else None

    def actors(self, spans: Sequence[Span], types: Sequence[str] = ()) -> list[int]:
        """Returns the number of different actors in each span; the spans don't overlap."""
        if types:
            self.need_raw(spans[0].start)
            return distinct_actors_of_types(self.connection, spans, types)
        cuts = [cut(span) for span in spans]
        for each in cuts:
            for end in each.ends:
                self.need_raw(end.start)
        return distinct_actors(self.connection, cuts)

    def actors_by_type(
        self, span: Span, types: Sequence[str], named: Sequence[str]
    ) -> dict[str, int]:
        """Returns the number of different actors of each type, from the raw events."""
        return actors_by_type(self.connection, span, types, named)

    def actors_beside(
        self, span: Span, types: Collection[str], others: Collection[str]
    ) -> int | None:
        """Returns the number of those who did any but these types.

        None where retention dropped some of that: who did it isn't known.
        """
        if self.dropped_types(span).intersection(others):
            return None
        return actors_beside(self.connection, span, types)

    def dropped_types(self, span: Span) -> frozenset[str]:
        """Returns the types of which retention dropped events of the span."""
        if self.dropped_before is None or span.start >= self.dropped_before:
            return frozenset()
        counts = self.by_type(Span(span.start, min(span.end, self.dropped_before)))
        return frozenset(event_type for event_type, n in counts.items() if n)

    def counted(self) -> Span:
        """Returns the span of all that is counted, what retention dropped included."""
        last = self.connection.execute(select(func.max(Count.quarter))).scalar() or 0
        return Span(quarter_start(0), quarter_start(last + 1))

    def by_minute(self, spans: Sequence[Span], types: Sequence[str]) -> tuple[list[int], list[int]]:
        """Returns events and different actors in each minute, from the raw events."""
        whole = Span(spans[0].start, spans[-1].end)
        self.need_raw(whole.start)
        found = by_minute(self.connection, whole, types)
        pairs = [found.get(span.start.replace(second=0, microsecond=0), (0, 0)) for span in spans]
        return [n for n, _ in pairs], [unique for _, unique in pairs]
