"""What a caller's start, end, zone and interval mean: exact instants and buckets."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Literal, TypeVar
from zoneinfo import ZoneInfo

from analytics_app.zones import (
    MICROSECOND,
    ONE_DAY,
    QUARTER_SECONDS,
    local_date,
    midnight,
    quarter_of,
    quarter_start,
)
from chassis.errors import FieldError, Invalid
from chassis.time_zones import zone_named

Interval = Literal["minute", "hour", "day", "week", "month"]

DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
LONGEST = {"minute": timedelta(hours=49), "hour": timedelta(days=93)}
LONGEST_SAID = {"minute": "48 hours", "hour": "92 days"}
USUAL_DAYS = {"minute": 1, "hour": 7, "day": 30, "week": 84, "month": 365}
EARLIEST, LATEST = date(1970, 1, 2), date(2200, 1, 1)


@dataclass(frozen=True, slots=True)
class Range:
    """The half-open range `[start, end)`, in UTC, and the zone its days are in.

    `nominal_end` is where the range would end if it were not cut off at the present minute.
    """

    start: datetime
    end: datetime
    zone: ZoneInfo
    nominal_end: datetime


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket of a series: its natural `[start, end)`."""

    start: datetime
    end: datetime


def zone_of(name: str | None, usual: str) -> ZoneInfo:
    """Returns the zone; raises Invalid if there is none of that name."""
    try:
        return zone_named(name or usual)
    except ValueError as error:
        raise Invalid([FieldError("tz", str(error))]) from None


def moment(text: str, field: str, zone: ZoneInfo) -> datetime:
    """Returns the time, or local midnight of the date; raises Invalid for anything else."""
    try:
        if DATE.fullmatch(text):
            return midnight(within_reach(date.fromisoformat(text), field), zone)
        if TIME.fullmatch(text):
            found = datetime.fromisoformat(text.upper()).astimezone(UTC)
            within_reach(found.date(), field)
            return found
    except (ValueError, OverflowError):
        pass
    example = "must be a date such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z"
    raise Invalid([FieldError(field, example)])


def within_reach(day: date, field: str) -> date:
    if not EARLIEST <= day <= LATEST:
        raise Invalid([FieldError(field, f"must lie between {EARLIEST} and {LATEST}")])
    return day


def next_minute(now: datetime) -> datetime:
    """Returns the first full minute after now: up to there reports go, and don't change within it.

    It is never now itself, so that an event of this very moment lies before it.
    """
    return now.replace(second=0, microsecond=0) + timedelta(minutes=1)


def asked(
    start: str | None, end: str | None, zone: ZoneInfo, now: datetime, usual_days: int = 30
) -> Range:
    """Returns the range a caller asks for.

    Without an end it ends with the next full minute; without a start it has the usual days.
    """
    tomorrow = midnight(local_date(now, zone) + ONE_DAY, zone)
    until = moment(end, "end", zone) if end else next_minute(now)
    nominal = until if end else tomorrow
    if start:
        since = moment(start, "start", zone)
    else:
        since = midnight(local_date(nominal, zone) - timedelta(days=usual_days), zone)
    need_order(since, until)
    return Range(since, until, zone, nominal)


def bounds(
    start: str | None, end: str | None, zone: ZoneInfo
) -> tuple[datetime | None, datetime | None]:
    """Returns both ends of a list's range, where given; raises Invalid as for a report's."""
    return in_order(start, end, partial(moment, zone=zone))


def need_order(start: date, end: date) -> None:
    """Raises Invalid for a range that holds nothing: one that ends where it begins, or before."""
    if start >= end:
        raise Invalid([FieldError("end", "must be after start")])


Moment = TypeVar("Moment", bound=date)


def in_order(
    start: str | None, end: str | None, read: Callable[[str, str], Moment]
) -> tuple[Moment | None, Moment | None]:
    """Returns both ends of a list's range, where given; raises Invalid with all complaints.

    `read` makes a text and its field's name an end, or raises Invalid.
    """
    ends: list[Moment | None] = []
    complaints: list[FieldError] = []
    for text, field in ((start, "start"), (end, "end")):
        try:
            ends.append(read(text, field) if text else None)
        except Invalid as problem:
            complaints += problem.errors
    if complaints:
        raise Invalid(complaints)
    since, until = ends
    if since is not None and until is not None:
        need_order(since, until)
    return since, until


def previous(current: Range, now: datetime) -> Range:
    """Returns the range before it, over the time that has elapsed by the next full minute.

    A range of whole local days is followed by as many days before it, so that clocks
    going forward or back don't shift it.
    """
    elapsed = max(min(current.end, next_minute(now)) - current.start, timedelta())
    first = local_date(current.start, current.zone)
    last = local_date(current.nominal_end, current.zone)
    whole_days = (
        midnight(first, current.zone) == current.start
        and midnight(last, current.zone) == current.nominal_end
    )
    if not whole_days:
        return Range(current.start - elapsed, current.start, current.zone, current.start)
    start = midnight(first - (last - first), current.zone)
    end = current.start if current.nominal_end <= now else min(start + elapsed, current.start)
    return Range(start, end, current.zone, current.start)


def buckets(span: Range, interval: Interval) -> list[Bucket]:
    """Returns every bucket that the range touches, in order."""
    edges = EDGES[interval](span)
    return [Bucket(start, end) for start, end in pairwise(edges) if start < end]


def need_few(span: Range, interval: Interval, most: int, field: str, limit: str = "") -> None:
    """Raises Invalid where the range holds too many buckets; none of them is made for that."""
    if interval in LONGEST and span.end - span.start > LONGEST[interval]:
        said = f"for {interval}s is limited to {LONGEST_SAID[interval]}"
        raise Invalid([FieldError("interval", f"the range {said}: narrow it")])
    count = COUNTS[interval](span)
    if count > most:
        said = f"the range holds {count:,} {interval}s, and at most {most:,} are answered{limit}"
        raise Invalid([FieldError(field, f"{said}: narrow it or take longer ones")])


def minutes_in(span: Range) -> int:
    start = span.start.replace(second=0, microsecond=0)
    return -((start - span.end) // timedelta(minutes=1))


def hours_in(span: Range) -> int:
    """Returns about how many: an hour on the wall need not begin with one of UTC."""
    return -((span.start - span.end) // timedelta(hours=1))


def days_in(span: Range) -> int:
    first, last = days_of(span)
    return (last - first).days + 1


def weeks_in(span: Range) -> int:
    first, last = days_of(span)
    return (monday(last) - monday(first)).days // 7 + 1


def months_in(span: Range) -> int:
    first, last = days_of(span)
    return (last.year - first.year) * 12 + last.month - first.month + 1


def days_of(span: Range) -> tuple[date, date]:
    """Returns the first and the last local day that the range touches."""
    return local_date(span.start, span.zone), local_date(span.end - MICROSECOND, span.zone)


def minute_edges(span: Range) -> list[datetime]:
    edges = [span.start.replace(second=0, microsecond=0)]
    while edges[-1] < span.end:
        edges.append(edges[-1] + timedelta(minutes=1))
    return edges


def hour_edges(span: Range) -> list[datetime]:
    """Returns where the hour on the wall changes; an hour that clocks repeat counts twice."""
    quarter = quarter_of(span.start)
    while hour_on_the_wall(quarter - 1, span.zone) == hour_on_the_wall(quarter, span.zone):
        quarter -= 1
    edges = [quarter_start(quarter)]
    while edges[-1] < span.end:
        before = hour_on_the_wall(quarter, span.zone)
        while hour_on_the_wall(quarter, span.zone) == before:
            quarter += 1
        edges.append(quarter_start(quarter))
    return edges


def hour_on_the_wall(quarter: int, zone: ZoneInfo) -> tuple[object, ...]:
    local = datetime.fromtimestamp(quarter * QUARTER_SECONDS, zone)
    return local.date(), local.hour, local.utcoffset()


def calendar_edges(
    span: Range, first: Callable[[date], date], following: Callable[[date], date]
) -> list[datetime]:
    day = first(local_date(span.start, span.zone))
    edges = [midnight(day, span.zone)]
    while edges[-1] < span.end:
        day = following(day)
        edges.append(midnight(day, span.zone))
    return edges


def day_edges(span: Range) -> list[datetime]:
    return calendar_edges(span, lambda day: day, lambda day: day + ONE_DAY)


def week_edges(span: Range) -> list[datetime]:
    return calendar_edges(span, monday, lambda day: day + timedelta(days=7))


def month_edges(span: Range) -> list[datetime]:
    return calendar_edges(
        span,
        lambda day: day.replace(day=1),
        lambda day: (day + timedelta(days=32)).replace(day=1),
    )


def monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


COUNTS: dict[str, Callable[[Range], int]] = {
    "minute": minutes_in,
    "hour": hours_in,
    "day": days_in,
    "week": weeks_in,
    "month": months_in,
}
EDGES: dict[str, Callable[[Range], list[datetime]]] = {
    "minute": minute_edges,
    "hour": hour_edges,
    "day": day_edges,
    "week": week_edges,
    "month": month_edges,
}
