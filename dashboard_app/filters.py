"""What a report page is looking at: read from the address, written back to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from chassis import time_zones

EVENT_TYPE = re.compile(r"[A-Za-z0-9_.:-]{1,100}", re.ASCII)
EARLIEST = date(2000, 1, 1)
LATEST = date(2100, 1, 1)


@dataclass(frozen=True, slots=True)
class Preset:
    """A range that has a name, and the key that chooses it."""

    name: str
    label: str
    key: str
    days: int
    ended_days_ago: int = 0


PRESETS = (
    Preset("today", "Today", "d", 1),
    Preset("yesterday", "Yesterday", "e", 1, ended_days_ago=1),
    Preset("7d", "7 days", "w", 7),
    Preset("30d", "30 days", "t", 30),
    Preset("90d", "90 days", "q", 90),
    Preset("12m", "12 months", "y", 365),
)
BY_NAME = {preset.name: preset for preset in PRESETS}
DEFAULT_PRESET = "30d"
METRICS = ("users", "events", "signups", "failures")
INTERVALS = ("hour", "day", "week", "month")
# The longest range in days that each interval still reads well at.
INTERVAL_DAYS = {"hour": 8, "day": 400, "week": 1600, "month": 40_000}


@dataclass(frozen=True, slots=True)
class Filters:
    """A range of local days (both inclusive) and how to look at it."""

    first: date
    last: date
    tz: str
    preset: str | None = DEFAULT_PRESET
    chosen_interval: str | None = None
    compare: bool = True
    metric: str = "users"
    event_type: str | None = None
    default_tz: str = "UTC"
    # What else the page keeps in its address, as (name, value).
    extra: tuple[tuple[str, str], ...] = ()

    @property
    def days(self) -> int:
        """How many days the range has."""
        return (self.last - self.first).days + 1

    @property
    def interval(self) -> str:
        """The chosen interval, or the one that suits the range."""
        if self.chosen_interval in self.intervals:
            return str(self.chosen_interval)
        if self.days <= 2:
            return "hour"
        return "day" if self.days <= 120 else "week"

    @property
    def intervals(self) -> list[str]:
        """The intervals that read well over this range."""
        shortest = {"hour": 1, "day": 2, "week": 8, "month": 32}
        return [each for each in INTERVALS if shortest[each] <= self.days <= INTERVAL_DAYS[each]]

    @property
    def interval_choices(self) -> list[tuple[str, str]]:
        """The same as (value, text)."""
        return [(each, f"By {each}") for each in self.intervals]

    @property
    def bars_interval(self) -> str:
        """The interval for stacked bars, which get too thin to read sooner than a line."""
        if self.interval in ("hour", "day") and self.days > 45:
            return "week"
        return self.interval

    @property
    def shift(self) -> timedelta:
        """How far back the comparison lies: whole weeks, so that weekdays line up."""
        return timedelta(days=self.days if self.days < 7 else -(-self.days // 7) * 7)

    def bounds(self) -> dict[str, str]:
        """Returns `start` and the exclusive `end` as the analytics service takes them."""
        end = self.last + timedelta(days=1)
        return {"start": self.first.isoformat(), "end": end.isoformat(), "tz": self.tz}

    def previous_bounds(self, now: datetime) -> dict[str, str]:
        """Returns the comparison's bounds: as much time as has passed of this range."""
        zone = ZoneInfo(self.tz)
        start = self.first - self.shift
        end = local_midnight(self.last + timedelta(days=1), zone)
        if now >= end:
            until = (self.last + timedelta(days=1) - self.shift).isoformat()
        else:
            until = rfc3339(shifted(now, zone, self.shift))
        return {"start": start.isoformat(), "end": until, "tz": self.tz}

    def query(self, **changes: Any) -> dict[str, str]:
        """Returns the address's parameters, those at their default left out."""
        it = replace(self, **changes) if changes else self
        values = {
            "range": "" if it.preset in (None, DEFAULT_PRESET) else it.preset,
            "from": it.first.isoformat() if it.preset is None else "",
            "to": it.last.isoformat() if it.preset is None else "",
            "interval": it.chosen_interval or "",
            "compare": "" if it.compare else "0",
            "tz": "" if it.tz == it.default_tz else it.tz,
            "metric": "" if it.metric == "users" else it.metric,
            "event_type": it.event_type or "",
        }
        return {name: value for name, value in values.items() if value} | dict(it.extra)

    def url(self, path: str = "", **changes: Any) -> str:
        """Returns the path with the address's parameters after the changes."""
        query = urlencode(self.query(**changes))
        return f"{path}?{query}" if query else path

    def for_range(self, preset: str) -> str:
        """Returns the query string that chooses a named range and keeps the rest."""
        kept = {k: v for k, v in self.query().items() if k not in ("range", "from", "to")}
        if preset != DEFAULT_PRESET:
            kept = {"range": preset, **kept}
        return "?" + urlencode(kept)

    def link(self, **changes: Any) -> str:
        """Returns the query string after the changes."""
        return "?" + urlencode(self.query(**changes))

    def for_days(self, first: date, last: date) -> str:
        """Returns the query string that zooms to these days."""
        return self.link(preset=None, first=first, last=last, chosen_interval=None)


def read(args: Mapping[str, str], default_tz: str, now: datetime | None = None) -> Filters:
    """Returns the filters an address holds; what can't be read falls back to its default."""
    tz = known_zone(args.get("tz", "")) or default_tz
    today = (now or datetime.now(UTC)).astimezone(ZoneInfo(tz)).date()
    preset, first, last = range_from(args, today)
    return Filters(
        first=first,
        last=last,
        tz=tz,
        preset=preset,
        chosen_interval=one_of(args.get("interval"), INTERVALS),
        compare=args.get("compare") != "0",
        metric=one_of(args.get("metric"), METRICS) or "users",
        event_type=event_type(args.get("event_type")),
        default_tz=default_tz,
    )


def range_from(args: Mapping[str, str], today: date) -> tuple[str | None, date, date]:
    """Returns the preset's name (None for a custom range) with the first and the last day."""
    preset = BY_NAME.get(args.get("range", ""), BY_NAME[DEFAULT_PRESET])
    end = today - timedelta(days=preset.ended_days_ago)
    begin = end - timedelta(days=preset.days - 1)
    first, last = day(args.get("from")), day(args.get("to"))
    # The form sends both: days that are just the preset's leave it a preset.
    if first and last and (first, last) != (begin, end):
        return None, min(first, last), max(first, last)
    return preset.name, begin, end


def day(text: str | None) -> date | None:
    try:
        found = date.fromisoformat(text or "")
    except ValueError:
        return None
    return found if EARLIEST <= found <= LATEST else None


def known_zone(name: str) -> str | None:
    """Returns the name if it is an IANA zone's, else None."""
    return name if name in time_zones.NAMES else None


def one_of(value: str | None, allowed: tuple[str, ...]) -> str | None:
    return value if value in allowed else None


def event_type(text: str | None) -> str | None:
    return text if text and EVENT_TYPE.fullmatch(text) else None


def local_midnight(of: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(of, time(), tzinfo=zone)


def shifted(moment: datetime, zone: ZoneInfo, by: timedelta) -> datetime:
    """Returns the same time of day, so many days before."""
    local = moment.astimezone(zone).replace(tzinfo=None) - by
    return local.replace(tzinfo=zone)


def rfc3339(moment: datetime) -> str:
    text = moment.astimezone(UTC).replace(microsecond=0).isoformat()
    return text.replace("+00:00", "Z")
