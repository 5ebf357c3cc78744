"""Storing and listing events."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, request

from analytics_app import listing
from analytics_app.batches import parsed_batch
from analytics_app.ingest import Fate
from analytics_app.intake import Sender
from analytics_app.listing import Filter
from analytics_app.ranges import bounds, moment, zone_of
from analytics_app.schemas.events import (
    MAX_USER_ID,
    BatchIn,
    BatchOut,
    DateRangeQuery,
    ErasedOut,
    EventBody,
    EventOut,
    EventPage,
    EventsQuery,
    UserEventsQuery,
)
from analytics_app.services import services
from chassis.api import api
from chassis.auth import caller, requires
from chassis.errors import FieldError, Forbidden, Invalid, TooLarge, UnsupportedMediaType
from chassis.pagination import Paging

LARGEST_EVENT = 64 * 1024
NDJSON = "application/x-ndjson"

routes = Blueprint("events", __name__, url_prefix="/analytics")


def sender() -> Sender:
    found = caller()
    return Sender(found.may("events:write"), found.user_id, relay=found.kind == "service")


@routes.post("/events")
@requires("events:write", or_user=True)
@api(
    body=EventBody,
    body_raw=True,
    answers={201: EventOut, 200: EventOut | ErasedOut},
)
def store_event(raw: bytes) -> Any:
    """Store one event.

    Answered after the commit: 201 with the event, 200 with the stored one for a repeat,
    200 with `{"status": "erased"}` for somebody whose events were erased. What goes beyond a
    limit is a 422 that names it: event types (MAX_EVENT_TYPES, 2,000) and partitions that one
    request makes (MAX_PARTITIONS_PER_REQUEST, 12); for accounts without `events:write` new
    types (MAX_EVENT_TYPES_PER_USER, 20, and MAX_EVENT_TYPES_BY_USERS, 200), events a UTC day
    (MAX_EVENTS_PER_USER_A_DAY, 10,000) and partitions (MAX_PARTITIONS_BY_USERS_A_DAY, 12).
    """
    if not request.is_json:
        raise UnsupportedMediaType("Send the event as JSON, with Content-Type: application/json.")
    if len(raw) > LARGEST_EVENT:
        raise TooLarge("One event is at most 64 KiB.")
    event, is_new = services().ingest.one(raw, sender())
    return event or {"status": "erased"}, 201 if is_new else 200


@routes.post("/events/batch")
@requires("events:write", or_user=True)
@api(
    body=BatchIn,
    body_raw=True,
    media_types=("application/json", NDJSON),
    answers={200: BatchOut},
)
def store_batch(raw: bytes) -> dict[str, Any]:
    """Store up to 5,000 events.

    JSON or one event a line; each is judged for itself, and those not accepted are listed,
    among them what goes beyond a limit, as for single events.
    """
    lines = request.mimetype in (NDJSON, "application/ndjson", "application/jsonl")
    if not (lines or request.is_json):
        raise UnsupportedMediaType(f"Send JSON or {NDJSON}.")
    accepted, fates = services().ingest.batch(parsed_batch(raw, lines=lines), sender())
    return batch_answer(accepted, fates)


def batch_answer(accepted: int, fates: list[Fate]) -> dict[str, Any]:
    statuses = [fate.status for fate in fates]
    return {
        "accepted": accepted,
        "duplicates": statuses.count("duplicate"),
        "rejected": statuses.count("rejected"),
        "erased": statuses.count("erased"),
        "results": [
            {
                "index": fate.index,
                "status": fate.status,
                "errors": [{"field": e.field, "message": e.message} for e in fate.errors],
            }
            for fate in fates
        ],
    }


@routes.get("/events")
@requires("events:read")
@api(query=EventsQuery, answers={200: EventPage}, etag=True)
def list_events(query: EventsQuery) -> dict[str, Any]:
    """List events, newest first.

    Filters: event_type (repeatable), user_id, start, end, and metadata.<key>=<value>. A value
    is written as answers show it: a text without its quotes, anything else as compact JSON,
    letter for letter. So `1` finds the number 1 and the text "1", not 1.0; what was sent as
    1E2 or 0.30 is `100.0` or `0.3`, 1e20 is `1e+20`; whole numbers stand with all their digits.
    """
    return page(query, filter_of(query, query.user_id, query.metadata))


@routes.get("/events/date-range")
@requires("events:read")
@api(query=DateRangeQuery, answers={200: EventPage}, etag=True)
def list_events_of_days(query: DateRangeQuery) -> dict[str, Any]:
    """List the events of some days, the last one included, in the reporting time zone."""
    zone = zone_of(query.tz, services().settings.reporting_timezone)
    start = moment(day(query.start_date, "start_date"), "start_date", zone)
    end = moment(day(query.end_date, "end_date", 1), "end_date", zone)
    if start >= end:
        raise Invalid([FieldError("end_date", "must not be before start_date")])
    return page(query, Filter(start, end, query.event_type))


def day(text: str, field: str, plus: int = 0) -> str:
    """Returns the date, so many days later; raises Invalid for any other text."""
    try:
        return (datetime.strptime(text, "%Y-%m-%d") + timedelta(days=plus)).date().isoformat()
    except (ValueError, OverflowError):
        raise Invalid([FieldError(field, "must be a date such as 2026-01-31")]) from None


@routes.get("/users/<id:user_id>/events")
@requires("events:read", or_user=True)
@api(query=UserEventsQuery, answers={200: EventPage}, etag=True)
def list_events_of_user(user_id: int, query: UserEventsQuery) -> dict[str, Any]:
    """List one user's events, newest first: one's own, or anybody's for analysts."""
    found, user_id = caller(), account_id(user_id)
    if found.user_id != user_id and not found.may("events:read"):
        raise Forbidden("You may see your own events only.")
    return page(query, filter_of(query, user_id, {}))


def account_id(user_id: int) -> int:
    """Returns the id from a path; raises Invalid where no account's can be that large."""
    if user_id > MAX_USER_ID:
        raise Invalid([FieldError("user_id", f"must be at most {MAX_USER_ID}")])
    return user_id


def filter_of(query: UserEventsQuery, actor: int | None, metadata: dict[str, str]) -> Filter:
    zone = zone_of(query.tz, services().settings.reporting_timezone)
    start, end = bounds(query.start, query.end, zone)
    return Filter(start, end, query.event_type, actor, metadata)


def page(query: Paging, wanted: Filter) -> dict[str, Any]:
    with services().readers.snapshot(services().deadline()) as snapshot:
        return listing.page(snapshot, wanted, query)
