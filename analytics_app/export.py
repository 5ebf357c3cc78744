"""Export: raw events as NDJSON or CSV, written by the database, streamed at flat memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from sqlalchemy import ColumnElement, Text, case, cast, func, literal, select

from analytics_app import dialects
from analytics_app.listing import Filter, conditions
from analytics_app.models import Event
from analytics_app.readers import Snapshot

Format = Literal["ndjson", "csv"]

ROWS_AT_ONCE = 2_000
CSV_HEADER = b"event_id,event_type,user_id,metadata,created_at,actor\n"


def chunks(snapshot: Snapshot, wanted: Filter, kind: Format) -> Iterator[bytes]:
    """Yields the wanted events in no order, some thousand lines at a time, each in time."""
    if kind == "csv":
        yield CSV_HEADER
    dialect = dialects.of(snapshot.connection.engine)
    line = json_line(dialect) if kind == "ndjson" else csv_line(dialect)
    streaming = snapshot.connection.execution_options(yield_per=ROWS_AT_ONCE)
    found = streaming.execute(select(line).where(*conditions(snapshot, wanted)))
    for lines in found.scalars().partitions():
        yield ("\n".join(lines) + "\n").encode()
        snapshot.deadline.renew()  # who reads slowly isn't cut off


def json_line(dialect: Any) -> ColumnElement[str]:
    """Returns SQL for one event as `/batch` takes it; a visitor is named by `actor` alone.

    Event types and UUIDs hold nothing that JSON escapes; metadata is JSON as it stands.
    """
    return joined(
        '{"event_id":"',
        dialect.uuid_text(Event.event_id),
        '","event_type":"',
        Event.event_type,
        '","user_id":',
        func.coalesce(cast(Event.user_id, Text), "null"),
        ',"metadata":',
        cast(Event.details, Text),
        ',"created_at":"',
        dialect.time_text(Event.created_at),
        '"',
        case((Event.actor < 0, literal(',"actor":') + cast(Event.actor, Text)), else_=""),
        "}",
    )


def csv_line(dialect: Any) -> ColumnElement[str]:
    """Returns SQL for one event as a line of RFC 4180, no cell of which is a formula."""
    return joined(
        dialect.uuid_text(Event.event_id),
        # Of all that a cell may begin with, only this makes a spreadsheet take it for a formula.
        case((Event.event_type.startswith("-"), literal(",'")), else_=","),
        Event.event_type,
        ",",
        func.coalesce(cast(Event.user_id, Text), ""),
        ',"',
        func.replace(cast(Event.details, Text), '"', '""'),
        '",',
        dialect.time_text(Event.created_at),
        ",",
        case((Event.actor < 0, cast(Event.actor, Text)), else_=""),
    )


def joined(*parts: Any) -> ColumnElement[str]:
    """Returns SQL for the parts, one after the other."""
    texts = [literal(part, Text) if isinstance(part, str) else part for part in parts]
    whole = texts[0]
    for part in texts[1:]:
        whole = whole.op("||")(part)
    return cast(whole, Text)
