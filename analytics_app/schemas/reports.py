"""Reports as they are asked for and answered."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from analytics_app.ranges import Interval
from analytics_app.schemas.events import EventOut, EventType
from chassis.schema import Model, Query, Timestamp

END = "exclusive; left out: the next full minute"
FIELDS = "only these figures, separated by commas: what is left out is not counted either"


LISTED = "the most frequent (MAX_TYPES_LISTED, 50); all others are one `other`"


class RangeQuery(Query):
    """A half-open range; a bare date is local midnight in `tz`."""

    start: str | None = Field(None, max_length=64, description="a time, or a date in `tz`")
    end: str | None = Field(None, max_length=64, description=END)
    tz: str | None = Field(None, max_length=64, description="an IANA time zone")


class ByTypeQuery(RangeQuery):
    """A range, all there is without one; of some types or of all."""

    event_type: list[EventType] = []


class SummaryQuery(RangeQuery):
    """A range, and whether to compare it with the one before."""

    compare: Literal["previous"] | None = None
    fields: str | None = Field(None, max_length=200, description=FIELDS)


class SeriesQuery(RangeQuery):
    """A range in buckets."""

    interval: Interval = "day"
    event_type: list[EventType] = []
    fields: str | None = Field(
        None, max_length=200, description=f"{FIELDS}; `by_type` is there only if named"
    )


class Point(Model):
    """One bucket; `complete` is false while it lasts, or where the range cuts it."""

    start: Timestamp
    count: int
    unique_users: int
    complete: bool


class SparsePoint(Model):
    """One bucket, or the fields of it that were asked for."""

    start: Timestamp | None = None
    count: int | None = None
    unique_users: int | None = None
    complete: bool | None = None
    by_type: dict[str, int] | None = Field(None, description="the most frequent of the range")
    other: int | None = Field(None, description="beside `by_type`: events of all other types")


class OtherTypes(Model):
    """The types that are not listed by name.

    `unique_users` is null where retention dropped events of them: who did those isn't known.
    """

    types: int
    count: int
    unique_users: int | None


class Figures(Model):
    """What happened in a range, or the figures of it that were asked for."""

    start: Timestamp
    end: Timestamp
    total_events: int | None = None
    unique_users: int | None = None
    events_by_type: dict[str, int] | None = Field(None, description=LISTED)
    other: OtherTypes | None = None
    events_over_time: list[Point] | None = None


class Summary(Figures):
    """What happened in a range, and in the one before it; `as_of` if from a replica."""

    tz: str
    previous: Figures | None = None
    as_of: Timestamp | None = None


class Series(Model):
    """Every bucket of a range."""

    interval: Interval
    tz: str
    items: list[SparsePoint]
    start: Timestamp
    end: Timestamp
    as_of: Timestamp | None = None


class TypeCount(Model):
    """How many events of a type, by how many different actors.

    `unique_users` is null where retention dropped some of them: who did those isn't known.
    """

    event_type: str
    count: int
    unique_users: int | None


class ByType(Model):
    """Counts by type, the most frequent first."""

    items: list[TypeCount] = Field(description=LISTED)
    other: OtherTypes
    total: int
    as_of: Timestamp | None = None


class Live(Model):
    """The last 30 minutes, those active in the last 5, and, for analysts, the newest events."""

    start: Timestamp
    end: Timestamp
    items: list[Point]
    active_users: int
    events: list[EventOut] = []
    as_of: Timestamp | None = None
