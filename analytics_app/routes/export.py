"""Streamed exports of raw events."""

from __future__ import annotations

from collections.abc import Iterator
from threading import BoundedSemaphore

from flask import Blueprint, Response, stream_with_context

from analytics_app import audit, export
from analytics_app.listing import Filter
from analytics_app.models import db
from analytics_app.ranges import bounds, zone_of
from analytics_app.schemas.export import ExportQuery
from analytics_app.services import services
from chassis.api import api
from chassis.auth import requires
from chassis.database import transaction
from chassis.errors import Unavailable
from chassis.schema import rfc3339

NDJSON = "application/x-ndjson"
TYPES = {"ndjson": NDJSON, "csv": "text/csv; charset=utf-8"}
AT_ONCE = 2
AS_OF = {"As-Of": "up to when the events are complete; there if they come from a replica"}

routes = Blueprint("export", __name__, url_prefix="/analytics")
running = BoundedSemaphore(AT_ONCE)


@routes.get("/export")
@requires("events:read")
@api(query=ExportQuery, answers={200: str}, answer_types=(NDJSON, "text/csv"), answer_headers=AS_OF)
def export_events(query: ExportQuery) -> Response:
    """Export raw events, streamed.

    Two exports run at a time in each worker; one more is a 503 with Retry-After, so that
    reports keep their connections.
    """
    zone = zone_of(query.tz, services().settings.reporting_timezone)
    start, end = bounds(query.start, query.end, zone)
    headers: dict[str, str] = {}
    wanted = Filter(start, end, query.event_type, query.user_id)
    lines = stream(wanted, query.format, headers)
    # The first lines come before the status: what is wrong with the database shows by then.
    first = next(lines, b"")
    answer = Response(stream_with_context(following(first, lines)), headers=headers)
    answer.content_type = TYPES[query.format]
    name = f"footfall-events.{query.format}"
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def stream(
    wanted: Filter, kind: export.Format, headers: dict[str, str] | None = None
) -> Iterator[bytes]:
    """Yields the lines, some thousand at a time; by the first, the headers say how fresh they are.

    Raises Unavailable where two are running.
    """
    if not running.acquire(blocking=False):
        raise Unavailable("Two exports are running already.", retry_after=10)
    try:
        note(wanted, kind)
        with services().readers.snapshot(services().deadline()) as snapshot:
            if headers is not None and snapshot.as_of is not None:
                headers["As-Of"] = rfc3339(snapshot.as_of)
            yield from export.chunks(snapshot, wanted, kind)
    finally:
        running.release()


def note(wanted: Filter, kind: export.Format) -> None:
    with transaction(db.session):
        audit.record(db.session.connection(), "events_exported", wanted.actor, format=kind)


def following(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
