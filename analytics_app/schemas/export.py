"""Exports as they are asked for."""

from __future__ import annotations

from pydantic import Field

from analytics_app.export import Format
from analytics_app.schemas.events import EventType, UserId
from chassis.schema import Query


class ExportQuery(Query):
    """Which events, and how they are written; without a range, all there is."""

    format: Format = Field("ndjson", description="what /batch takes back, or CSV")
    start: str | None = Field(None, max_length=64, description="a time, or a date in `tz`")
    end: str | None = Field(None, max_length=64, description="exclusive")
    tz: str | None = Field(None, max_length=64, description="an IANA time zone")
    event_type: list[EventType] = []
    user_id: UserId | None = None
