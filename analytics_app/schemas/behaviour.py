"""Behaviour reports as they are asked for and answered."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from analytics_app.schemas.events import EventType
from analytics_app.schemas.reports import END, RangeQuery
from chassis.pagination import PageQuery, Paging
from chassis.schema import SINGLE_LINE, SPARSE, Model, Name, Page, Timestamp
from chassis.visibility import OnlyFor

Key = Annotated[str, StringConstraints(min_length=1, max_length=200)]
ValueIn = str | int | float | bool
Wanted = ValueIn | Annotated[list[ValueIn], Field(min_length=1, max_length=50)]
# What a property holds, and what is computed from it; how often it does is for everybody.
ANALYSTS = OnlyFor("events:read")
Text = Annotated[str | None, ANALYSTS]
Number = Annotated[float | None, ANALYSTS]
DurationText = Annotated[str, StringConstraints(max_length=20)]
Duration = Annotated[
    int | DurationText,
    Field(description="seconds, or text such as 90s, 30m, 24h, 7d", examples=["7d"]),
]


class FunnelStep(Model):
    """An event of the type; every named property must spell its value, or one of several.

    Values are compared as they are stored: 1 and "1" are spelled alike, 1 and 1.0 are not.
    """

    event_type: EventType
    metadata: dict[Key, Wanted] = Field({}, max_length=10, description="for analysts")


class FunnelSteps(Model):
    """2 to 8 steps in order, all within `window` of the first.

    Conditions on properties, and a breakdown, are for analysts.
    """

    steps: list[FunnelStep] = Field(min_length=2, max_length=8)
    window: Duration = "7d"
    start: str | None = Field(None, max_length=64, description="a time, or a date in `tz`")
    end: str | None = Field(None, max_length=64, description=END)
    tz: str | None = Field(None, max_length=64, description="an IANA time zone")
    breakdown: Key | None = Field(None, description="a key of the first step's metadata")


class FunnelIn(FunnelSteps):
    """A funnel to follow people through."""

    limit: int = Field(5, ge=1, le=25, description="how many values; the rest is one")


class FunnelStepOut(Model):
    """How many people did the step; shares are of the first step and of the one before."""

    event_type: str
    metadata: dict[str, list[str]]
    users: int
    conversion: float
    step_conversion: float
    dropped: int
    median_seconds: float | None


class FunnelGroup(Model):
    """The funnel of those whose first step had the value; `other` is for all further values."""

    value: Text
    other: bool
    steps: list[FunnelStepOut]


class Answer(Model):
    """The range of a report; `as_of` stands in answers from a replica."""

    start: Timestamp
    end: Timestamp
    tz: str
    as_of: Timestamp | None = None


class Funnel(Answer):
    """People and shares for each step."""

    window_seconds: int
    steps: list[FunnelStepOut]
    breakdown: list[FunnelGroup] | None = None


class DroppedUser(Model):
    """Someone who did the step before, when, and not the step."""

    user_id: int
    started_at: Timestamp
    last_step_at: Timestamp


class DroppedIn(Paging, FunnelSteps):
    """A funnel, and the number of the step that people did not reach from the one before."""

    listed = "dropped"
    item = DroppedUser
    place = {"last_step_at": datetime, "user_id": int}

    step: int = Field(ge=2, le=8)


class SparseDroppedUser(DroppedUser):
    """Someone who stopped before the step, or the fields of them that were asked for."""

    model_config = SPARSE


class Dropped(Page, Answer):
    """Who stopped before a step, the latest first; visitors have no id: they are counted."""

    step: int
    users: int
    visitors: int
    items: list[SparseDroppedUser]


class RetentionQuery(RangeQuery):
    """A range in cohorts; with event types: who came back to do one of them."""

    interval: Literal["day", "week", "month"] = "week"
    event_type: list[EventType] = []


class RetentionCell(Model):
    """How many of a cohort were back so many periods later, and whether that has ended."""

    period: int
    users: int
    share: float
    complete: bool


class Cohort(Model):
    """Those whose first event ever lies in the bucket that begins at `start`."""

    start: Timestamp
    users: int
    complete: bool
    cells: list[RetentionCell]


class Retention(Answer):
    """The triangle, the oldest cohort first."""

    interval: Literal["day", "week", "month"]
    event_type: list[str]
    cohorts: list[Cohort]


class PathsQuery(RangeQuery):
    """Where to begin, which way to go, and how far."""

    event_type: EventType
    direction: Literal["after", "before"] = "after"
    levels: int = Field(3, ge=1, le=5)
    limit: int = Field(10, ge=1, le=50, description="paths at each level")
    gap: DurationText | None = Field(
        None, description="a path ends where nothing happens for longer, such as 30m"
    )


class Tally(Model):
    """Different people, occurrences, and the people's share of all at the beginning."""

    users: int
    count: int
    share: float


class PathItem(Tally):
    """One path: the event types that follow the first, in walking order."""

    path: list[str]


class PathLevel(Model):
    """The most frequent paths of a level, the rest, and where it ended before this level."""

    level: int
    items: list[PathItem]
    other: Tally
    ended: Tally


class Paths(Answer):
    """What people did next after (or before) an event type."""

    event_type: str
    direction: Literal["after", "before"]
    gap_seconds: int | None
    users: int
    occurrences: int
    levels: list[PathLevel]


class PropertiesQuery(RangeQuery):
    """A range; without event types, all of them."""

    event_type: list[EventType] = []


class Property(Model):
    """One key: how many events have it, whose, and of what kinds; samples for analysts."""

    event_type: str
    key: str
    count: int
    share: float
    unique_users: int
    types: dict[str, int]
    distinct_values: int
    samples: Annotated[list[str] | None, ANALYSTS]


class Properties(Answer):
    """The keys of each event type, largest type and most frequent key first; at most 1,000."""

    items: list[Property]


class BreakdownQuery(RangeQuery):
    """An event type by a key's values; numbers are those of `measure`, by default the key's."""

    prefixed = {"metadata.": "metadata"}

    event_type: EventType
    key: Key
    measure: Key | None = None
    limit: int = Field(10, ge=1, le=100)
    metadata: dict[Key, str] = Field({}, max_length=10)


class BreakdownFigures(Model):
    """Figures of some events; those of numbers are null where there are none.

    Numbers count as doubles, and are added up exactly. What lies beyond the largest double,
    a whole number of hundreds of digits or a sum, is answered as ±1.7976931348623157e308.
    """

    count: int
    unique_users: int
    sum: Number = None
    average: Number = None
    median: Number = None
    p95: Number = None


class BreakdownItem(BreakdownFigures):
    """One value, as text."""

    value: Text


class BreakdownRest(BreakdownFigures):
    """All values that are not listed, and how many different ones they are."""

    values: int


class Breakdown(Answer):
    """The most frequent values first; `without` are the events that lack the key."""

    event_type: str
    key: str
    measure: str
    items: list[BreakdownItem]
    other: BreakdownRest
    without: BreakdownFigures
    total: BreakdownFigures


ReportPage = Literal[
    "overview", "events", "funnels", "retention", "paths", "properties", "breakdown"
]


class SavedReportIn(Model):
    """A report page's parameters, as they stand in its address after the `?`."""

    name: Name
    report: ReportPage
    query: Annotated[str, StringConstraints(max_length=4000), SINGLE_LINE] = ""


class SavedReportOut(Model):
    """A saved report; `created_by` is a user id, null where a program saved it."""

    id: int
    name: str
    report: str
    query: str
    created_by: int | None
    created_at: Timestamp


class SparseSavedReport(SavedReportOut):
    """A saved report, or the fields of it that were asked for."""

    model_config = SPARSE


class SavedReportsQuery(PageQuery):
    """Which saved reports to list."""

    listed = "saved reports"
    item = SavedReportOut


class SavedReports(Page):
    """Saved reports, the newest first."""

    items: list[SparseSavedReport]


class AnnotationIn(Model):
    """A note on a day of the reporting zone."""

    day: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d$")]
    text: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), SINGLE_LINE
    ]


class AnnotationOut(Model):
    """A stored note."""

    id: int
    day: str
    text: str
    created_by: int | None
    created_at: Timestamp


class SparseAnnotation(AnnotationOut):
    """A note, or the fields of it that were asked for."""

    model_config = SPARSE


class AnnotationsQuery(PageQuery):
    """Notes on the days from `start` on, up to before `end`."""

    listed = "annotations"
    item = AnnotationOut
    place = {"day": date, "id": int}

    start: str | None = Field(None, max_length=10, description="a date")
    end: str | None = Field(None, max_length=10, description="a date, exclusive")


class Annotations(Page):
    """Notes, the latest day first."""

    items: list[SparseAnnotation]
