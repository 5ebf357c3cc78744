"""What analytics is to hear of, written in the transaction of the change."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete

from chassis import tracing
from users_app import clock
from users_app.models import OutboxMessage, db

EVENT, ERASURE = "event", "erasure"


def put_event(event_type: str, user_id: int | None, **metadata: Any) -> None:
    """Adds an event; its id and time are made here, so that a retry repeats them."""
    put(EVENT, event_type, user_id, metadata)


def put_erasure(user_id: int, **metadata: Any) -> None:
    """Drops the account's undelivered events; adds its erasure, then one `user_deleted`.

    The event is the erasure's own follow-up (see relay), so it can't arrive before it.
    """
    db.session.execute(delete(OutboxMessage).where(OutboxMessage.user_id == user_id))
    put(ERASURE, "user_deleted", user_id, metadata)


def put(kind: str, event_type: str, user_id: int | None, metadata: dict[str, Any]) -> None:
    now = clock.now()
    db.session.add(
        OutboxMessage(
            kind=kind,
            event_type=event_type,
            user_id=user_id,
            event_id=clock.uuid7(now),
            details=metadata,
            created_at=now,
            due_at=now,
            traceparent=tracing.current_traceparent(),
        )
    )
