"""What happens right now: the last half hour by minute, who is active, the newest events."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, select

from analytics_app import listing
from analytics_app.actors import someones
from analytics_app.models import Event
from analytics_app.ranges import Range, next_minute
from analytics_app.readers import Snapshot
from analytics_app.reports import dated, points
from analytics_app.rollups import Rollups
from analytics_app.schemas.events import EventsQuery
from analytics_app.spans import Span
from chassis.schema import rfc3339

MINUTES = timedelta(minutes=30)
ACTIVE = timedelta(minutes=5)
NEWEST = 20


def live(snapshot: Snapshot, now: datetime, *, with_events: bool) -> dict[str, Any]:
    """Returns 30 minutes, the unfinished one last, and those active in the last 5 of them."""
    end = next_minute(now)
    span = Range(end - MINUTES, end, ZoneInfo("UTC"), end)
    answer: dict[str, Any] = {
        "start": rfc3339(span.start),
        "end": rfc3339(span.end),
        "items": points(Rollups(snapshot.connection), span, "minute", (), now),
        "active_users": active(snapshot, Span(end - ACTIVE, end)),
    }
    if with_events:
        newest = listing.page(
            snapshot, listing.Filter(), EventsQuery.model_validate({"limit": NEWEST})
        )
        answer["events"] = newest["items"]
    return dated(answer, snapshot)


def active(snapshot: Snapshot, span: Span) -> int:
    chosen = select(func.count(Event.actor.distinct())).where(*someones(snapshot.connection, span))
    return int(snapshot.connection.execute(chosen).scalar_one())
