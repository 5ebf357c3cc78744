"""Saved reports and annotations."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from analytics_app.behaviour import records
from analytics_app.behaviour.models import Annotation, SavedReport
from analytics_app.models import db
from analytics_app.routes.reports import READERS
from analytics_app.schemas.behaviour import (
    AnnotationIn,
    AnnotationOut,
    Annotations,
    AnnotationsQuery,
    SavedReportIn,
    SavedReportOut,
    SavedReports,
    SavedReportsQuery,
)
from analytics_app.services import services
from chassis.api import api
from chassis.auth import caller, requires, signed_in
from chassis.errors import Conflict, Forbidden

routes = Blueprint("behaviour_records", __name__, url_prefix="/analytics")


@routes.post("/saved-reports")
@signed_in
@api(body=SavedReportIn, answers={201: SavedReportOut}, errors=(Conflict,))
def save_report(body: SavedReportIn) -> dict[str, Any]:
    """Save a report's parameters under a name, for everybody of this installation.

    There are 2,000 at most (MAX_SAVED_REPORTS): one more is a 409.
    """
    return records.save(db, body, caller(), services().settings.max_saved_reports)


@routes.get("/saved-reports")
@requires(*READERS)
@api(query=SavedReportsQuery, answers={200: SavedReports}, etag=True)
def list_saved_reports(query: SavedReportsQuery) -> dict[str, Any]:
    """List the saved reports, the newest first."""
    return records.saved_reports(db, query)


@routes.get("/saved-reports/<id:report_id>")
@requires(*READERS)
@api(answers={200: SavedReportOut}, etag=True)
def get_saved_report(report_id: int) -> dict[str, Any]:
    """Show one saved report."""
    return records.saved_report(db, report_id)


@routes.delete("/saved-reports/<id:report_id>")
@requires(or_user=True, confirmed=True)
@api(answers={204: None})
def delete_saved_report(report_id: int) -> None:
    """Delete a saved report of one's own; admins delete anybody's."""
    records.remove(db, SavedReport, report_id, caller())


@routes.post("/annotations")
@requires("events:write", "events:read")
@api(body=AnnotationIn, answers={201: AnnotationOut}, errors=(Conflict,))
def add_annotation(body: AnnotationIn) -> dict[str, Any]:
    """Write a note on a day: analysts, admins, and programs that may write events.

    There are 10,000 at most (MAX_ANNOTATIONS): one more is a 409.
    """
    if caller().kind != "user" and not caller().may("events:write"):
        raise Forbidden("A key that may only read can't write notes: it needs events:write.")
    return records.annotate(db, body, caller(), services().settings.max_annotations)


@routes.get("/annotations")
@requires(*READERS)
@api(query=AnnotationsQuery, answers={200: Annotations}, etag=True)
def list_annotations(query: AnnotationsQuery) -> dict[str, Any]:
    """List the notes, the latest day first."""
    return records.notes(db, query)


@routes.delete("/annotations/<id:annotation_id>")
@requires(or_user=True, confirmed=True)
@api(answers={204: None})
def delete_annotation(annotation_id: int) -> None:
    """Delete a note of one's own; admins delete anybody's."""
    records.remove(db, Annotation, annotation_id, caller())
