"""The worst that may be stored, as far as reports are concerned, and the reports that meet it."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert

from analytics_app import counting, dialects
from analytics_app.models import Event, EventType, Presence, db
from analytics_app.zones import QUARTERS_A_DAY, quarter_of
from chassis.database import transaction

LARGEST = 16 * 1024 - 40
MANY = 60_000
TYPES = 2_000
DAY = datetime(2026, 5, 4, tzinfo=UTC)
WHOLE = {"start": "2026-05-01", "end": "2026-05-09"}
Made = tuple[str, int, dict[str, Any]]


def made() -> Iterator[Made]:
    """Yields types, actors and metadata."""
    for n in range(MANY):  # one actor with very many events, each with a value of its own
        yield "many", 7, {"value": n * 1.5 if n % 2 else f"v{n}", "other": f"{n % 7}"}
    for n in range(600):  # many keys
        yield "wide", n, {f"key{n % 3}-{k:04}": (k * n) % 10 for k in range(1_000)}
    for n in range(300):  # long texts that differ only at their ends
        yield "long", n, {"value": "x" * LARGEST + f"{n:05}"}
    for n in range(100):  # deep
        yield "deep", n, {"value": nested(6, n)}
    for n in range(TYPES):  # many types
        yield f"type{n:04}", n % 50, {"value": n}


def nested(levels: int, number: int) -> Any:
    return {"a": nested(levels - 1, number)} if levels else [number] * 2_000


def store() -> None:
    """Stores it within a day, counted as ingest would, without going through it."""
    events = list(made())
    step = timedelta(days=1) / len(events)
    moments = [DAY + step * n for n in range(len(events))]
    dialects.of(db.engine).prepare_partitions(db.engine, moments[:1])
    with transaction(db.session):
        connection = db.session.connection()
        rows = [row(*each) for each in zip(events, moments, strict=True)]
        types = sorted({each[0] for each in events})
        known = [{"event_type": t, "created_at": DAY, "erasing": False} for t in types]
        connection.execute(insert(EventType), known)
        connection.execute(insert(Event.__table__), rows)
        tally = Counter((quarter_of(r["created_at"]), r["event_type"]) for r in rows)
        counting.add(connection, tally)
        be_present(connection, rows)


def row(made: Made, moment: datetime) -> dict[str, Any]:
    event_type, actor, metadata = made
    return {
        "event_type": event_type,
        "actor": actor,
        "user_id": actor or None,
        "event_id": str(uuid.uuid4()),
        "created_at": moment,
        "metadata": metadata,
    }


def be_present(connection: Connection, rows: list[dict[str, Any]]) -> None:
    bits: Counter[tuple[int, int]] = Counter()
    for each in rows:
        day, quarter = divmod(quarter_of(each["created_at"]), QUARTERS_A_DAY)
        if each["actor"]:
            bits[day, each["actor"]] |= 1 << quarter
    found = [
        {"day": day, "actor": actor, "low": seen & (1 << 48) - 1, "high": seen >> 48}
        for (day, actor), seen in bits.items()
    ]
    connection.execute(insert(Presence.__table__), found)


STEPS = {"steps": [{"event_type": "many"}] * 8, "window": "30d", **WHOLE}
REPORTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "funnel": ("POST", "/analytics/funnel", {**STEPS, "breakdown": "value", "limit": 25}),
    "dropped": ("POST", "/analytics/funnel/dropped", {**STEPS, "step": 8}),
    "retention": (
        "GET",
        "/analytics/retention",
        {**WHOLE, "interval": "day", "event_type": [f"type{n:04}" for n in range(400)]},
    ),
    "paths": ("GET", "/analytics/paths", {**WHOLE, "event_type": "many", "levels": 5}),
    "properties": ("GET", "/analytics/properties", WHOLE),
    "properties of a wide type": ("GET", "/analytics/properties", {**WHOLE, "event_type": "wide"}),
    "breakdown": (
        "GET",
        "/analytics/breakdown",
        {**WHOLE, "event_type": "many", "key": "value", "limit": 100},
    ),
    "breakdown of long texts": (
        "GET",
        "/analytics/breakdown",
        {**WHOLE, "event_type": "long", "key": "value", "limit": 100},
    ),
    "breakdown of deep texts": (
        "GET",
        "/analytics/breakdown",
        {**WHOLE, "event_type": "deep", "key": "value", "limit": 100},
    ),
    "summary": ("GET", "/analytics/summary", {**WHOLE, "compare": "previous"}),
    "timeseries": (
        "GET",
        "/analytics/timeseries",
        {**WHOLE, "interval": "hour", "event_type": "many"},
    ),
    "timeseries by type": (
        "GET",
        "/analytics/timeseries",
        {**WHOLE, "interval": "hour", "fields": "start,count,unique_users,by_type"},
    ),
    "timeseries by minute": (
        "GET",
        "/analytics/timeseries",
        {"start": "2026-05-04", "end": "2026-05-06", "interval": "minute"},
    ),
    "live": ("GET", "/analytics/live", {}),
    "by type": ("GET", "/analytics/events/by-type", WHOLE),
    "events": ("GET", "/analytics/events", {"metadata.value": "nothing"}),
    "events of a user": ("GET", "/analytics/users/7/events", {"limit": 500}),
    "export": ("GET", "/analytics/export", {"event_type": "long"}),
}
