"""Bytes -> events that may be stored, or every complaint about them."""

from __future__ import annotations

import hmac
import os
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json

from analytics_app.dialects.rows import Row
from analytics_app.schemas.events import EventBody, EventIn
from chassis.api import json_object, unstorable
from chassis.errors import FieldError, Forbidden, Invalid, field_errors

LARGEST_METADATA = 16 * 1024
DEEPEST_METADATA = 8
TOO_DEEP = FieldError("metadata", "must be at most 8 levels deep")
NESTED = (dict, list)  # by name: a union made anew for each value costs thrice the question
AHEAD = timedelta(minutes=5)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
FROM_USERS_SERVICE = frozenset(
    (
        "user_registered",
        "user_logged_in",
        "user_login_failed",
        "user_logged_out",
        "user_updated",
        "user_password_changed",
        "user_deactivated",
        "user_reactivated",
        "user_deleted",
    )
)


@dataclass(frozen=True, slots=True)
class Sender:
    """For whom a caller may send: for anybody if `trusted`, else for the one user.

    `relay`: whether it is the users service's, whose deliveries are measured for their lag.
    """

    trusted: bool
    user_id: int | None = None
    relay: bool = False


class Intake:
    """Judges events; `secret` keys the hash that stands for a visitor."""

    def __init__(self, secret: str) -> None:
        self.secret = secret.encode()

    def row(self, event: EventIn, sender: Sender, now: datetime) -> Row:
        """Returns the event as it is to be stored.

        Raises Forbidden where the sender may not send it, and Invalid with all complaints.
        """
        errors: list[FieldError] = []
        metadata = metadata_text(event.get("metadata"), errors)
        event_id, created_at = identity(event, now, errors)
        actor, user_id = self.person(event, sender, errors)
        if errors:
            raise Invalid(errors)
        return Row(actor, created_at, event_id, event["event_type"], user_id, metadata)

    def person(
        self, event: EventIn, sender: Sender, errors: list[FieldError]
    ) -> tuple[int, int | None]:
        """Returns the actor and the user id of an event."""
        user_id, visitor_id = event.get("user_id"), event.get("visitor_id")
        actor = event.get("actor")
        if sender.trusted and visitor_id is None and actor is None:
            return user_id or 0, user_id
        named = [name for name in PEOPLE if event.get(name) is not None]
        if len(named) > 1:
            errors.append(
                FieldError(named[1], f"can't stand beside {named[0]}: one event, one actor")
            )
        if not sender.trusted:
            return for_oneself(event, sender, named)
        if user_id is not None:
            return user_id, user_id
        if visitor_id is not None:
            return self.visitor(visitor_id), None
        return actor or 0, None

    def visitor(self, visitor_id: str) -> int:
        """Returns the negative number that stands for a visitor, and tells nothing of it."""
        digest = hmac.digest(self.secret, visitor_id.encode(), "sha256")
        return -1 - (int.from_bytes(digest[:8]) >> 1)


PEOPLE = ("user_id", "visitor_id", "actor")


def for_oneself(event: EventIn, sender: Sender, named: list[str]) -> tuple[int, int | None]:
    """Returns the sender's own; an explicit null names nobody, who is somebody else."""
    if event["event_type"] in FROM_USERS_SERVICE:
        said = f"Events of type {event['event_type']} are the users service's own."
        raise Forbidden(said, errors=[FieldError("event_type", said)])
    for_another = event.get("user_id", sender.user_id) != sender.user_id
    if sender.user_id is None or for_another or named not in ([], ["user_id"]):
        said = "You may send events for yourself only: leave user_id out, or name your own."
        raise Forbidden(said, errors=[FieldError(named[0] if named else "user_id", said)])
    return sender.user_id, sender.user_id


def metadata_text(metadata: dict[str, Any] | None, errors: list[FieldError]) -> str:
    """Returns metadata as compact JSON; adds a complaint for what can't be kept."""
    if not metadata:
        return "{}"
    try:
        data = to_json(metadata)
    except PydanticSerializationError:  # hundreds of levels
        errors.append(TOO_DEEP)
        return "{}"
    if len(data) > LARGEST_METADATA:
        errors.append(FieldError("metadata", "must be at most 16 KiB of JSON"))
    # More brackets than levels is rare: only then is it worth to look inside.
    if (
        data.count(b"{") + data.count(b"[") > DEEPEST_METADATA
        and depth(metadata) > DEEPEST_METADATA
    ):
        errors.append(TOO_DEEP)
    if (b"NaN" in data or b"Infinity" in data) and not finite(metadata):
        errors.append(FieldError("metadata", "holds a number that is too large"))
    return data.decode()


def depth(value: Any) -> int:
    """Returns the levels of objects and lists, without recursion: senders choose the depth."""
    levels, nested = 0, [value]
    while nested:
        levels += 1
        nested = [child for each in nested for child in children(each)]
    return levels


def children(value: Any) -> list[Any]:
    members = value.values() if isinstance(value, dict) else value
    return [each for each in members if isinstance(each, NESTED)]


def finite(value: Any) -> bool:
    if isinstance(value, float):
        return value - value == 0
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    return all(map(finite, value)) if isinstance(value, list) else True


def identity(event: EventIn, now: datetime, errors: list[FieldError]) -> tuple[str, datetime]:
    """Returns the event's id and time: those sent, the id's own time, or new ones."""
    given, written = event.get("event_id"), event.get("created_at")
    event_id = uuid_of(given, errors)
    if written is not None:
        created_at = moment_of(written, errors)
    elif given is None:
        return event_id, now
    else:
        created_at = time_of_uuid(event_id, errors)
    field = "event_id" if written is None else "created_at"
    if created_at > now + AHEAD:
        errors.append(FieldError(field, "must not be over 5 minutes ahead"))
    elif created_at < EARLIEST:
        errors.append(too_old(field, EARLIEST))
    return event_id, created_at


def too_old(field: str, limit: datetime) -> FieldError:
    """Returns the complaint about an event from before what is kept."""
    return FieldError(field, f"too_old: events before {limit:%Y-%m-%d} are not taken")


def uuid_of(text: str | None, errors: list[FieldError]) -> str:
    if text is None:
        return str(uuid.UUID(bytes=os.urandom(16), version=4))
    lowered = text.lower()
    if UUID.fullmatch(lowered) is None:
        errors.append(FieldError("event_id", "must be a UUID"))
    return lowered


def time_of_uuid(event_id: str, errors: list[FieldError]) -> datetime:
    """Returns the time a UUIDv7 was made; adds a complaint for any other kind."""
    if errors and errors[-1].field == "event_id":
        return EARLIEST
    if event_id[14] != "7" or event_id[19] not in "89ab":
        errors.append(
            FieldError(
                "event_id", "must be a UUIDv7 where created_at is left out: its time is taken"
            )
        )
        return EARLIEST
    milliseconds = int(event_id[:8] + event_id[9:13], 16)
    try:
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def moment_of(text: str, errors: list[FieldError]) -> datetime:
    """Returns the RFC 3339 time in UTC, to the microsecond; adds a complaint for any other."""
    try:
        if TIME.fullmatch(text):
            moment = datetime.fromisoformat(text.upper())
            return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except OverflowError:
        return EARLIEST - AHEAD
    except ValueError:
        pass
    errors.append(FieldError("created_at", "must be a time such as 2026-01-31T12:00:00Z"))
    return EARLIEST


def parsed_event(data: bytes) -> EventIn:
    """Returns the event in a JSON body; raises BadRequest or Invalid with all complaints."""
    try:
        event = EventBody.model_validate_json(data).root
        if is_plain(data, keys(event)):
            return event
    except ValidationError:
        pass
    parsed = checked(json_object(data))
    if isinstance(parsed, list):
        raise Invalid(parsed)
    return parsed


def checked(document: Any) -> EventIn | list[FieldError]:
    """Returns the event in a JSON value, or all complaints about it."""
    complaints = unstorable(document)
    try:
        event = EventBody.model_validate(document).root
    except ValidationError as error:
        return [*field_errors(error), *complaints]
    return complaints or event


def is_plain(data: bytes, names: int) -> bool:
    """Whether nothing in the bytes needs the strict reader's eye.

    Every name in the source is followed by a colon; where no more of them stand there than
    names came out, none stood twice. NUL can only come escaped.
    """
    # A search for one byte costs next to nothing, one for two a pass over all of it.
    most = data.count(b'":') + sum(data.count(each) for each in SPACED if each[:1] in data)
    has_nul = b"\\" in data and b"\\u0000" in data
    has_nan = b"N" in data and b"NaN" in data
    return most == names and not (has_nul or has_nan)


SPACED = (b" :", b"\t:", b"\n:", b"\r:")


def keys(event: EventIn) -> int:
    """Returns how many names the event's JSON held."""
    metadata = event.get("metadata")
    return len(event) + (names_in(metadata) if metadata else 0)


def names_in(value: Any) -> int:
    names = 0
    if isinstance(value, dict):
        names, value = len(value), value.values()
    for each in value:
        if isinstance(each, NESTED):
            names += names_in(each)
    return names
