"""Keeps events that are being erased out of every read, until they are deleted."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, exists, or_, select

from analytics_app.models import Erasure, Event, EventType

IS_OPEN = Erasure.finished_at.is_(None)
ERASED = exists().where(Erasure.actor == Event.actor, Event.created_at < Erasure.before, IS_OPEN)
OF_ERASED_TYPE = exists().where(EventType.event_type == Event.event_type, EventType.erasing)
VISIBLE = (~ERASED, ~OF_ERASED_TYPE)
ASKED = "erasures_are_open"


def unerased(connection: Connection) -> tuple[ColumnElement[bool], ...]:
    """Returns what every read of raw events must ask for: nothing, unless an erasure is open.

    It is looked up once for a snapshot, and so fits everything else that is read in it.
    """
    options = connection.get_execution_options()
    if ASKED not in options:
        some_open = or_(exists().where(IS_OPEN), exists().where(EventType.erasing))
        any_open = connection.scalar(select(some_open))
        options = connection.execution_options(**{ASKED: any_open}).get_execution_options()
    return VISIBLE if options[ASKED] else ()
