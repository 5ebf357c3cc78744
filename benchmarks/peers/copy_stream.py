"""One COPY stream into a plain table with the same indexes: the most PostgreSQL can take."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any

COPY = """
COPY events (actor, created_at, event_id, event_type, user_id, metadata) FROM STDIN
"""


def text_of(batches: Iterable[bytes]) -> io.StringIO:
    """Returns the events of JSON batches in COPY's text format."""
    lines = io.StringIO()
    for batch in batches:
        for event in json.loads(batch)["events"]:
            details = json.dumps(event["metadata"]).replace("\\", "\\\\")
            user, moment = event["user_id"], event["created_at"]
            lines.write(
                f"{user}\t{moment}\t{event['event_id']}\t{event['event_type']}\t{user}\t{details}\n"
            )
    lines.seek(0)
    return lines


def copy(connection: Any, text: io.StringIO) -> None:
    """Streams the rows in one transaction."""
    with connection, connection.cursor() as cursor:
        cursor.copy_expert(COPY, text)
