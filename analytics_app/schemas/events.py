"""Events as they come in and as they are answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Required

from pydantic import ConfigDict, Field, RootModel, StringConstraints, with_config
from typing_extensions import TypedDict

from chassis.pagination import PageQuery
from chassis.schema import SPARSE, FieldProblem, Model, Page, Timestamp

EventType = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,100}$")]
MAX_USER_ID = 2**62 - 1  # above it are the numbers of people who are no accounts
UserId = Annotated[int, Field(ge=1, le=MAX_USER_ID)]
# Judged in intake.py, where the answer can say what a time or UUID must look like.
TimeText = Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"})]
UuidText = Annotated[str, Field(max_length=64, json_schema_extra={"format": "uuid"})]
MAX_VISITOR_ID = 64
VisitorId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_VISITOR_ID)]


# A dict and no model: batches are read in half the time.
@with_config(ConfigDict(extra="forbid", strict=True))
class EventIn(TypedDict, total=False):
    """One event to store."""

    event_type: Required[EventType]
    user_id: UserId | None
    visitor_id: VisitorId | None
    metadata: dict[str, Any] | None
    event_id: UuidText | None
    created_at: TimeText | None
    actor: Annotated[
        Annotated[int, Field(ge=-(2**63), le=-1)] | None,
        Field(description="a visitor's, as an export wrote it; in batches only"),
    ]


class EventBody(RootModel[EventIn]):
    """One event as a body of its own."""


class BatchIn(Model):
    """Up to 5,000 events."""

    events: list[EventIn]


class EventOut(Model):
    """One stored event."""

    id: int
    event_id: str
    event_type: str
    user_id: int | None
    metadata: dict[str, Any]
    created_at: Timestamp


class ErasedOut(Model):
    """The answer to an event of somebody whose events were erased: it is not stored."""

    status: Literal["erased"] = "erased"


class BatchResult(Model):
    """What became of one event that was not accepted; `index` is its place in the batch."""

    index: int
    status: Literal["duplicate", "rejected", "erased"]
    errors: list[FieldProblem] = []


class BatchOut(Model):
    """How a batch fared; all events that `results` doesn't list were accepted."""

    accepted: int
    duplicates: int
    rejected: int
    erased: int
    results: list[BatchResult]


class SparseEvent(EventOut):
    """One stored event, or the fields of it that were asked for."""

    model_config = SPARSE


class EventPage(Page):
    """One page of events, newest first; `as_of` stands in answers from a replica."""

    items: list[SparseEvent]
    as_of: Timestamp | None = None


class EventListQuery(PageQuery):
    """A page of events."""

    listed = "events"
    item = EventOut
    place = {"created_at": datetime, "id": int}


class UserEventsQuery(EventListQuery):
    """A page of one user's events."""

    event_type: list[EventType] = []
    start: str | None = Field(None, max_length=64, description="a time, or a date in `tz`")
    end: str | None = Field(None, max_length=64, description="exclusive")
    tz: str | None = Field(None, max_length=64, description="an IANA time zone")


class EventsQuery(UserEventsQuery):
    """A page of events by type, user, time and metadata."""

    prefixed = {"metadata.": "metadata"}

    user_id: UserId | None = None
    metadata: dict[str, str] = {}


class DateRangeQuery(EventListQuery):
    """A page of the events of some whole days."""

    start_date: str = Field(max_length=64, description="the first day")
    end_date: str = Field(max_length=64, description="the last day, included")
    tz: str | None = Field(None, max_length=64, description="an IANA time zone")
    event_type: list[EventType] = []
