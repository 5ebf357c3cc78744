"""What every count, list and export must say, from the events alone: plain loops over a list.

Nothing here looks at the service's code: an event is in a bucket because it is dated within it.
"""

from __future__ import annotations

import uuid
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from tests.unit.analytics_behaviour.reference import Happening, spelled

QUARTER, MINUTE, DAY = timedelta(minutes=15), timedelta(minutes=1), timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
FOR_EVER = datetime.max.replace(tzinfo=UTC)
Person = int | str | None


class Sent(NamedTuple):
    """An event as a sender knows it: its own number, who did what when, and with what."""

    number: int
    kind: str
    moment: datetime
    person: Person
    metadata: dict[str, Any]

    def body(self) -> dict[str, Any]:
        who = "visitor_id" if isinstance(self.person, str) else "user_id"
        return {
            "event_id": str(uuid.UUID(int=self.number + 1, version=4)),
            "event_type": self.kind,
            "created_at": self.moment.isoformat(),
            "metadata": self.metadata,
            who: self.person,
        }


@dataclass(frozen=True)
class Fact:
    """An event that came in.

    Retention ends that it is `raw`; then nobody knows any more whose it was but by presence.
    Erasing its type ends that it is `counted`.
    """

    sent: Sent
    person: Person
    raw: bool = True
    counted: bool = True

    @property
    def at(self) -> datetime:
        return self.sent.moment

    @property
    def kind(self) -> str:
        return self.sent.kind


class TimeRange(NamedTuple):
    start: datetime
    end: datetime

    def holds(self, fact: Fact) -> bool:
        return self.start <= fact.at < self.end


@dataclass
class World:
    """All that happened, and what is true of it at `now`."""

    now: datetime
    most_types: int
    facts: list[Fact] = field(default_factory=list)
    tombstones: dict[Person, datetime] = field(default_factory=dict)
    dropped_before: datetime | None = None

    # What changes it

    def take(self, sent: Sent) -> str:
        """Returns the fate of an event, and keeps it if it is accepted."""
        if self.dropped_before and sent.moment < self.dropped_before:
            return "rejected"
        if sent.moment < self.tombstones.get(sent.person, sent.moment):
            return "erased"
        identity = (sent.number, sent.moment, sent.person)
        if any((f.sent.number, f.at, f.person) == identity for f in self.facts if f.raw):
            return "duplicate"
        self.facts.append(Fact(sent, sent.person))
        return "accepted"

    def erase(self, person: Person, *, for_ever: bool) -> None:
        """Removes a person; what retention dropped before stays as no one's."""
        newest = max((f.at for f in self.facts if f.raw and f.person == person), default=self.now)
        moment = FOR_EVER if for_ever else max(self.now, newest + MICROSECOND)
        self.tombstones[person] = max(moment, self.tombstones.get(person, moment))
        self.facts = [
            replace(fact, person=None) if fact.person == person else fact
            for fact in self.facts
            if fact.person != person or not fact.raw
        ]

    def erase_type(self, kind: str) -> None:
        """Removes a type; of what retention dropped, that somebody was there stays known."""
        self.facts = [
            replace(fact, counted=False) if fact.kind == kind else fact
            for fact in self.facts
            if fact.kind != kind or not fact.raw
        ]

    def drop(self, before: datetime) -> None:
        """Retention: the events from before go, their counts stay."""
        self.dropped_before = before
        self.facts = [replace(f, raw=f.raw and f.at >= before) for f in self.facts]

    # What is seen of it

    def is_dropped(self, moment: datetime) -> bool:
        return self.dropped_before is not None and moment < self.dropped_before

    def raw(self) -> list[Fact]:
        return [fact for fact in self.facts if fact.raw]

    def happenings(self, *, raw: bool) -> list[Happening]:
        """Returns the events as the behaviour reports' reference takes them."""
        chosen = self.raw() if raw else self.facts
        return [Happening(f.person, f.at, f.kind, f.sent.metadata) for f in chosen]

    def open_end(self) -> datetime:
        """Returns where a range ends that has no end: with the next full minute."""
        return self.now.replace(second=0, microsecond=0) + MINUTE

    def summary(self, within: TimeRange, zone: str) -> dict[str, Any]:
        counts = Counter(f.kind for f in self.facts if f.counted and within.holds(f))
        listed, rest = largest(counts, self.most_types)
        return {
            "start": within.start,
            "end": within.end,
            "total_events": counts.total(),
            "unique_users": people(filter(within.holds, self.facts)),
            "events_by_type": listed,
            "other": self.others(within, rest),
            "events_over_time": self.series(within, zone, "day", ()),
        }

    def others(self, within: TimeRange, rest: dict[str, int]) -> dict[str, Any]:
        return {
            "types": len(rest),
            "count": sum(rest.values()),
            "unique_users": self.people_of(within, rest),
        }

    def people_of(self, within: TimeRange, kinds: Iterable[str]) -> int | None:
        """Returns how many did any of the kinds; None if retention dropped some of that."""
        found = [f for f in self.facts if f.kind in kinds and f.counted and within.holds(f)]
        return people(found) if all(fact.raw for fact in found) else None

    def by_type(self, within: TimeRange, kinds: Sequence[str]) -> dict[str, Any]:
        counts = Counter(
            f.kind
            for f in self.facts
            if f.counted and within.holds(f) and (not kinds or f.kind in kinds)
        )
        listed, rest = largest(counts, self.most_types)
        items = [
            {"event_type": kind, "count": n, "unique_users": self.people_of(within, [kind])}
            for kind, n in listed.items()
        ]
        return {"items": items, "other": self.others(within, rest), "total": counts.total()}

    def series(
        self, within: TimeRange, zone: str, interval: str, kinds: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Returns every bucket; of some kinds, or of all that happened."""
        found = [f for f in self.facts if within.holds(f) and (not kinds or f.kind in kinds)]
        edges = edges_of(within, zone, interval)
        inside: list[list[Fact]] = [[] for _ in edges[1:]]
        for fact in found:
            inside[bisect_right(edges, fact.at) - 1].append(fact)
        return [
            {
                "start": start,
                "count": sum(fact.counted for fact in facts),
                "unique_users": people(facts),
                "complete": within.start <= start and end <= min(within.end, self.now),
            }
            for (start, end), facts in zip(pairwise(edges), inside, strict=True)
        ]

    def series_by_type(
        self, within: TimeRange, zone: str, interval: str, kinds: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Returns each bucket's counts of the range's most frequent types, and of the rest."""
        found = [
            f
            for f in self.facts
            if f.counted and within.holds(f) and (not kinds or f.kind in kinds)
        ]
        listed, _ = largest(Counter(f.kind for f in found), self.most_types)
        rows = []
        edges = edges_of(within, zone, interval)
        for start, end in pairwise(edges):
            counts = Counter(f.kind for f in found if start <= f.at < end)
            shown = {kind: counts[kind] for kind in listed if counts[kind]}
            rest = counts.total() - sum(shown.values())
            rows.append({"start": start, "count": counts.total(), "by_type": shown, "other": rest})
        return rows

    def live(self) -> dict[str, Any]:
        end = self.open_end()
        within, recent = TimeRange(end - 30 * MINUTE, end), TimeRange(end - 5 * MINUTE, end)
        return {
            "start": within.start,
            "end": end,
            "items": self.series(within, "UTC", "minute", ()),
            "active_users": people(f for f in self.raw() if recent.holds(f)),
        }

    def listed(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        kinds: Sequence[str] = (),
        person: Person = None,
        wanted: dict[str, str] | None = None,
    ) -> list[tuple[Any, ...]]:
        """Returns the events of a list, newest first, those of one moment by their text."""
        return in_order(
            line(fact.sent)
            for fact in self.raw()
            if (start is None or start <= fact.at)
            and (end is None or fact.at < end)
            and (not kinds or fact.kind in kinds)
            and (person is None or fact.person == person)
            and all(spelled(fact.sent.metadata.get(k)) == v for k, v in (wanted or {}).items())
        )


def line(sent: Sent) -> tuple[Any, ...]:
    """Returns an event as lists and exports show it; visitors by the kind of their person."""
    body = sent.body()
    metadata = repr(sorted(sent.metadata.items()))
    return sent.moment, body["event_id"], sent.kind, body.get("user_id"), metadata


def shown_line(item: dict[str, Any]) -> tuple[Any, ...]:
    """Returns the same of an event as it is answered."""
    metadata = repr(sorted(item["metadata"].items()))
    moment = datetime.fromisoformat(item["created_at"])
    return moment, item["event_id"], item["event_type"], item["user_id"], metadata


def in_order(lines: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(lines, key=lambda each: (each[0], repr(each)), reverse=True)


def people(facts: Iterable[Fact]) -> int:
    return len({fact.person for fact in facts} - {None})


def largest(counts: Counter[str], most: int) -> tuple[dict[str, int], dict[str, int]]:
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return dict(ordered[:most]), dict(ordered[most:])


# Buckets: where what a clock on the wall shows changes


def wall(moment: datetime, zone: str) -> datetime:
    return moment.astimezone(ZoneInfo(zone))


def hour(moment: datetime, zone: str) -> tuple[Any, ...]:
    local = wall(moment, zone)
    return local.date(), local.hour, local.utcoffset()


def day(moment: datetime, zone: str) -> tuple[Any, ...]:
    return (wall(moment, zone).date(),)


def week(moment: datetime, zone: str) -> tuple[Any, ...]:
    return wall(moment, zone).isocalendar()[:2]


def month(moment: datetime, zone: str) -> tuple[Any, ...]:
    local = wall(moment, zone)
    return local.year, local.month


NAMES: dict[str, Callable[[datetime, str], tuple[Any, ...]]] = {
    "hour": hour, "day": day, "week": week, "month": month,
}  # fmt: skip


@cache
def edges_of(within: TimeRange, zone: str, interval: str) -> list[datetime]:
    """Returns where the buckets that a range touches begin, and where the last one ends."""
    if interval == "minute":
        edges = [within.start.replace(second=0, microsecond=0)]
        while edges[-1] < within.end:
            edges.append(edges[-1] + MINUTE)
        return edges
    edges = list(changes(zone, interval))
    first = bisect_right(edges, within.start) - 1
    last = next(n for n, edge in enumerate(edges) if edge >= within.end)
    return edges[first : last + 1]


@cache
def changes(zone: str, interval: str) -> tuple[datetime, ...]:
    """Returns all moments of some months at which the wall shows another hour, day, …"""
    name = NAMES[interval]
    moment, found = datetime(2025, 12, 1, tzinfo=UTC), []
    while moment < datetime(2026, 6, 1, tzinfo=UTC):
        if name(moment, zone) != name(moment - QUARTER, zone):
            found.append(moment)
        moment += QUARTER
    return tuple(found)


def midnight(of: date, zone: str) -> datetime:
    """Returns the moment at which a day begins on the wall."""
    return next(each for each in changes(zone, "day") if day(each, zone) == (of,))
