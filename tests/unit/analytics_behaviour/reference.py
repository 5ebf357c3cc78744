"""The behaviour reports once more, slow and obvious: plain loops over the raw events."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Happening:
    """One accepted event; `who` is a user's number, a visitor's name, or None for nobody."""

    who: int | str | None
    at: datetime
    kind: str
    metadata: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Step:
    kind: str
    wanted: dict[str, list[str]] = field(default_factory=dict, hash=False)

    def takes(self, event: Happening) -> bool:
        return event.kind == self.kind and passes(event, self.wanted)


Events = Sequence[Happening]


def within(events: Events, start: datetime, end: datetime) -> list[Happening]:
    return [event for event in events if start <= event.at < end]


def spelled(value: Any) -> str | None:
    """The value as text, None for null; the histories hold no number that JSON writes oddly."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def passes(event: Happening, wanted: dict[str, list[str]]) -> bool:
    return all(spelled(event.metadata.get(key)) in texts for key, texts in wanted.items())


def by_person(events: Iterable[Happening]) -> dict[int | str, list[Happening]]:
    found: dict[int | str, list[Happening]] = defaultdict(list)
    for event in sorted(events, key=lambda each: (each.at, each.kind)):
        if event.who is not None:
            found[event.who].append(event)
    return found


def share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


# Funnel


def best_attempt(events: Events, steps: Sequence[Step], window: timedelta) -> list[Happening]:
    best: list[Happening] = []
    for first in events:
        if steps[0].takes(first):
            attempt = follow([first], events, steps, window)
            if len(attempt) > len(best):
                best = attempt
    return best


def follow(
    done: list[Happening], events: Events, steps: Sequence[Step], window: timedelta
) -> list[Happening]:
    """Goes on step by step; each takes the earliest event that may follow."""
    for step in steps[1:]:
        same = [each.at for each in done if each.kind == step.kind]
        fits = [
            event
            for event in events
            if step.takes(event)
            and event.at >= done[-1].at
            and all(event.at > moment for moment in same)
            and event.at - done[0].at <= window
        ]
        if not fits:
            break
        done = [*done, min(fits, key=lambda each: each.at)]
    return done


def funnel(
    events: Events, steps: Sequence[Step], window: timedelta, by: str | None = None
) -> list[dict[str, Any]]:
    attempts = [best_attempt(mine, steps, window) for mine in by_person(events).values()]
    return funnel_figures([each for each in attempts if each], steps)


def funnel_figures(attempts: list[list[Happening]], steps: Sequence[Step]) -> list[dict[str, Any]]:
    users = [sum(len(each) > n for each in attempts) for n in range(len(steps))]
    rows = []
    for n, step in enumerate(steps):
        took = [(each[n].at - each[n - 1].at) // MICROSECOND for each in attempts if len(each) > n]
        rows.append(
            {
                "event_type": step.kind,
                "users": users[n],
                "conversion": share(users[n], users[0]),
                "step_conversion": share(users[n], users[max(0, n - 1)]),
                "dropped": users[n - 1] - users[n] if n else 0,
                "median_seconds": statistics.median(took) / 1e6 if took and n else None,
            }
        )
    return rows


def funnel_by_value(
    events: Events, steps: Sequence[Step], window: timedelta, key: str, most: int
) -> list[tuple[str | None, bool, list[dict[str, Any]]]]:
    groups: dict[str | None, list[list[Happening]]] = defaultdict(list)
    for mine in by_person(events).values():
        mine.sort(key=lambda each: (each.at, *value_order(each.metadata.get(key))))
        if attempt := best_attempt(mine, steps, window):
            groups[spelled(attempt[0].metadata.get(key))].append(attempt)
    order = sorted(groups, key=lambda value: (-len(groups[value]), value is None, value or ""))
    found = [(value, False, funnel_figures(groups[value], steps)) for value in order[:most]]
    if order[most:]:
        rest = [attempt for value in order[most:] for attempt in groups[value]]
        found.append((None, True, funnel_figures(rest, steps)))
    return found


def value_order(value: Any) -> tuple[bool, str]:
    """Events at the same moment begin an attempt in the order of their values."""
    return spelled(value) is None, spelled(value) or ""


def dropped(events: Events, steps: Sequence[Step], window: timedelta, step: int) -> set[Any]:
    people = by_person(events).items()
    return {who for who, mine in people if len(best_attempt(mine, steps, window)) == step - 1}


# Retention


def local_day(moment: datetime, zone: ZoneInfo) -> date:
    return moment.astimezone(zone).date()


def bucket_of(moment: datetime, interval: str, zone: ZoneInfo) -> date:
    day = local_day(moment, zone)
    if interval == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if interval == "month" else day


def next_bucket(day: date, interval: str) -> date:
    if interval == "month":
        return (day + timedelta(days=32)).replace(day=1)
    return day + timedelta(days=7 if interval == "week" else 1)


def retention(
    events: Events,
    start: datetime,
    end: datetime,
    interval: str,
    kinds: Sequence[str],
    zone: ZoneInfo,
    now: datetime,
) -> list[dict[str, Any]]:
    """Over all events ever accepted and not erased, those dropped by retention too."""
    buckets = [bucket_of(start, interval, zone)]
    while midnight(next_bucket(buckets[-1], interval), zone) < end:
        buckets.append(next_bucket(buckets[-1], interval))
    firsts = {who: mine[0].at for who, mine in by_person(events).items()}
    came: dict[date, set[Any]] = defaultdict(set)
    for event in within(events, start, end):
        if event.who is not None and (not kinds or event.kind in kinds):
            came[bucket_of(event.at, interval, zone)].add(event.who)
    rows = []
    for n, bucket in enumerate(buckets):
        members = {
            who
            for who, first in firsts.items()
            if start <= first < end and bucket_of(first, interval, zone) == bucket
        }
        cells = [
            {
                "period": period,
                "users": len(members & came[later]),
                "share": share(len(members & came[later]), len(members)),
                "complete": complete(later, interval, start, end, zone, now),
            }
            for period, later in enumerate(buckets[n:])
        ]
        rows.append({"start": midnight(bucket, zone), "users": len(members), "cells": cells})
    return rows


def midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def complete(
    day: date, interval: str, start: datetime, end: datetime, zone: ZoneInfo, now: datetime
) -> bool:
    ends = midnight(next_bucket(day, interval), zone)
    return start <= midnight(day, zone) and ends <= end and ends <= now


# Paths


def sessions(events: Events, gap: timedelta | None) -> list[tuple[Any, list[str]]]:
    """Each person's event types in order without repeats, cut where the gap is longer."""
    found: list[tuple[Any, list[str]]] = []
    for who, mine in by_person(events).items():
        last = None
        for event in mine:
            if last is None or (gap is not None and event.at - last > gap):
                found.append((who, []))
            if found[-1][1][-1:] != [event.kind]:
                found[-1][1].append(event.kind)
            last = event.at
    return found


def paths(
    events: Events, kind: str, *, backwards: bool, levels: int, most: int, gap: timedelta | None
) -> dict[str, Any]:
    walks = []
    for who, kinds in sessions(events, gap):
        ordered = kinds[::-1] if backwards else kinds
        walks += [(who, ordered[n + 1 :]) for n, each in enumerate(ordered) if each == kind]
    users = len({who for who, _ in walks})
    found = []
    for level in range(1, levels + 1):
        ended = [walk for walk in walks if len(walk[1]) < level]
        walks = [walk for walk in walks if len(walk[1]) >= level]
        groups: dict[tuple[str, ...], list[Any]] = defaultdict(list)
        for who, path in walks:
            groups[tuple(path[:level])].append(who)
        order = sorted(groups, key=lambda p: (-len(set(groups[p])), -len(groups[p]), p))
        kept = order[:most]
        others = [who for path in order[most:] for who in groups[path]]
        found.append(
            {
                "level": level,
                "items": [{"path": list(path), **tally(groups[path], users)} for path in kept],
                "other": tally(others, users),
                "ended": tally([who for who, _ in ended], users),
            }
        )
        walks = [walk for walk in walks if tuple(walk[1][:level]) in kept]
    occurrences = sum(kinds.count(kind) for _, kinds in sessions(events, gap))
    return {"users": users, "occurrences": occurrences, "levels": found}


def tally(people: list[Any], users: int) -> dict[str, Any]:
    return {
        "users": len(set(people)),
        "count": len(people),
        "share": share(len(set(people)), users),
    }


# Properties and breakdown


def kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "number", float: "number", dict: "object", list: "list"}
    return names[type(value)]


def people_of(events: Iterable[Happening]) -> int:
    return len({event.who for event in events if event.who is not None})


def properties(events: Events) -> dict[tuple[str, str], dict[str, Any]]:
    having: dict[tuple[str, str], list[Happening]] = defaultdict(list)
    for event in events:
        for key, value in event.metadata.items():
            if value is not None:
                having[event.kind, key].append(event)
    totals = Counter(event.kind for event in events)
    return {
        (kind, key): {
            "count": len(mine),
            "share": share(len(mine), totals[kind]),
            "unique_users": people_of(mine),
            "types": dict(Counter(kind_of(event.metadata[key]) for event in mine)),
            "distinct_values": len({spelled(event.metadata[key]) for event in mine}),
        }
        for (kind, key), mine in having.items()
    }


def breakdown(
    events: Events, kind: str, key: str, measure: str, wanted: dict[str, list[str]], most: int
) -> dict[str, Any]:
    chosen = [event for event in events if event.kind == kind and passes(event, wanted)]
    groups: dict[str | None, list[Happening]] = defaultdict(list)
    for event in chosen:
        groups[spelled(event.metadata.get(key))].append(event)
    without = groups.pop(None, [])
    order = sorted(groups, key=lambda value: (-len(groups[value]), value))
    rest = [event for value in order[most:] for event in groups[value]]
    return {
        "items": [{"value": value, **figures(groups[value], measure)} for value in order[:most]],
        "other": {"values": len(order[most:]), **figures(rest, measure)},
        "without": figures(without, measure),
        "total": figures(chosen, measure),
    }


def figures(events: list[Happening], measure: str) -> dict[str, Any]:
    values = [event.metadata.get(measure) for event in events]
    numbers = sorted(v for v in values if isinstance(v, int | float) and not isinstance(v, bool))
    row: dict[str, Any] = {"count": len(events), "unique_users": people_of(events)}
    if not numbers:
        return {**row, "sum": None, "average": None, "median": None, "p95": None}
    place = 0.95 * (len(numbers) - 1)
    low = numbers[int(place)]
    high = numbers[min(int(place) + 1, len(numbers) - 1)]
    return {
        **row,
        "sum": sum(numbers),
        "average": sum(numbers) / len(numbers),
        "median": statistics.median(numbers),
        "p95": low + (high - low) * (place - int(place)),
    }
