"""A batch's bytes, JSON or NDJSON -> its events one by one, each judged for itself."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from analytics_app.intake import checked, is_plain, keys, parsed_event
from analytics_app.schemas.events import BatchIn, EventIn
from chassis.api import json_object
from chassis.errors import BadRequest, FieldError, Invalid, TooLarge

LARGEST_BATCH = 5_000

Parsed = EventIn | list[FieldError]


def parsed_batch(data: bytes, *, lines: bool) -> list[Parsed]:
    """Returns each event or its complaints; raises TooLarge over 5,000 of them.

    A body that is no JSON raises BadRequest as a whole; NDJSON is judged by line.
    """
    found = from_lines(data) if lines else from_document(data)
    if len(found) > LARGEST_BATCH:
        raise TooLarge(f"A batch holds at most {LARGEST_BATCH:,} events.")
    return found


def from_document(data: bytes) -> list[Parsed]:
    try:
        events = BatchIn.model_validate_json(data).events
        if is_plain(data, 1 + sum(map(keys, events))):
            return list(events)
    except ValidationError:
        pass
    return [checked(each) for each in listed(json_object(data, by_itself=True))]


def listed(document: dict[str, Any]) -> list[Any]:
    events = document.pop("events", None)
    errors = [FieldError(str(name), "is not a known field") for name in document]
    if not isinstance(events, list):
        errors.append(FieldError("events", "is required" if events is None else "must be a list"))
    if errors:
        raise Invalid(errors)
    return events or []


def from_lines(data: bytes) -> list[Parsed]:
    lines = [line for line in data.split(b"\n") if line.strip()]
    if len(lines) > LARGEST_BATCH:
        raise TooLarge(f"A batch holds at most {LARGEST_BATCH:,} events.")
    return [from_line(line) for line in lines]


def from_line(line: bytes) -> Parsed:
    try:
        return parsed_event(line)
    except Invalid as problem:
        return problem.errors
    except BadRequest as problem:
        return [FieldError("body", problem.detail)]
