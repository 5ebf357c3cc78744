"""What people keep about reports: saved parameters, and notes on days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import select

from analytics_app.behaviour.models import Annotation, SavedReport
from analytics_app.ranges import in_order
from analytics_app.room import need_room
from analytics_app.schemas.behaviour import AnnotationIn, AnnotationsQuery, SavedReportIn
from chassis.auth import Caller
from chassis.database import transaction
from chassis.errors import FieldError, Forbidden, Invalid, NotFound
from chassis.keyset import rows_of
from chassis.pagination import Paging
from chassis.schema import rfc3339

SAVED_FIELDS = ("id", "name", "report", "query", "created_by", "created_at")
NOTE_FIELDS = ("id", "day", "text", "created_by", "created_at")


def save(db: SQLAlchemy, given: SavedReportIn, by: Caller, most: int) -> dict[str, Any]:
    """Saves a report's parameters; commits. Raises Conflict where there are so many."""
    with transaction(db.session):
        need_room(db.session.connection(), SavedReport.__table__, most, "saved reports")
        row = SavedReport(
            name=given.name,
            report=given.report,
            query=given.query.removeprefix("?"),
            created_by=by.user_id,
            created_at=datetime.now(UTC),
        )
        db.session.add(row)
        db.session.flush()
        return answered(row, SAVED_FIELDS)


def annotate(db: SQLAlchemy, given: AnnotationIn, by: Caller, most: int) -> dict[str, Any]:
    """Stores a note on a day; commits.

    Raises Invalid for a day that is none, and Conflict where there are so many notes.
    """
    with transaction(db.session):
        need_room(db.session.connection(), Annotation.__table__, most, "annotations")
        row = Annotation(
            day=day_of(given.day, "day"),
            text=given.text,
            created_by=by.user_id,
            created_at=datetime.now(UTC),
        )
        db.session.add(row)
        db.session.flush()
        return answered(row, NOTE_FIELDS)


def day_of(text: str, field: str) -> date:
    """Returns the date; raises Invalid for any other text."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Invalid([FieldError(field, "must be a date such as 2026-01-31")]) from None


def saved_reports(db: SQLAlchemy, query: Paging) -> dict[str, Any]:
    """Returns a page of saved reports, the newest first."""
    rows = rows_of(db.session, select(SavedReport), query, SavedReport.id)
    return query.page(rows, lambda row: answered(row, SAVED_FIELDS))


def saved_report(db: SQLAlchemy, report_id: int) -> dict[str, Any]:
    """Returns one saved report; raises NotFound."""
    found = db.session.get(SavedReport, report_id)
    if found is None:
        raise NotFound()
    return answered(found, SAVED_FIELDS)


def notes(db: SQLAlchemy, query: AnnotationsQuery) -> dict[str, Any]:
    """Returns a page of notes on the days `[start, end)`, the latest day first."""
    start, end = in_order(query.start, query.end, day_of)
    chosen = select(Annotation)
    if start:
        chosen = chosen.where(Annotation.day >= start)
    if end:
        chosen = chosen.where(Annotation.day < end)
    rows = rows_of(db.session, chosen, query, Annotation.day, Annotation.id)
    return query.page(rows, lambda row: answered(row, NOTE_FIELDS))


def remove(
    db: SQLAlchemy, kind: type[SavedReport] | type[Annotation], row_id: int, by: Caller
) -> None:
    """Deletes one's own saved report or note; admins may delete anybody's. Commits.

    Raises NotFound and Forbidden.
    """
    with transaction(db.session):
        found: Any = db.session.get(kind, row_id)
        if found is None:
            raise NotFound()
        if by.role != "admin" and (by.user_id is None or found.created_by != by.user_id):
            raise Forbidden("Only whoever made it, or an admin, may delete it.")
        db.session.delete(found)


def answered(row: SavedReport | Annotation, fields: Sequence[str]) -> dict[str, Any]:
    return {name: plain(getattr(row, name)) for name in fields}


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    return value.isoformat() if isinstance(value, date) else value
