"""The audit trail: entries are added in the transaction of the change, and never touched."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import g, has_request_context
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, Select, insert, select

from analytics_app.models import AuditEntry
from chassis.auth import caller
from chassis.limits import request_address

COMMAND = {"actor_kind": "command", "actor_id": None, "address": "command line"}


def record(
    connection: Connection, action: str, account_id: int | None = None, **details: Any
) -> None:
    """Adds an entry in the connection's transaction; the current request says who acts.

    `account_id` is the account concerned, if there is one; `details` holds ids, counts,
    scopes and field names, never a person's data: nothing takes an entry back.
    """
    connection.execute(
        insert(AuditEntry).values(
            created_at=datetime.now(UTC),
            action=action,
            account_id=account_id,
            details=details,
            **origin(),
        )
    )


def origin() -> dict[str, Any]:
    """Returns who acts in the current request, or that a command does, and from where."""
    if not has_request_context():
        return COMMAND
    acting = caller()
    return {
        "actor_kind": acting.kind,
        "actor_id": None if acting.kind == "service" else int(acting.subject),
        "address": request_address(),
        "request_id": g.get("request_id"),
    }


def entries_before(
    db: SQLAlchemy, entry_id: int | None, limit: int, **where: str | int | None
) -> list[AuditEntry]:
    """Returns up to `limit` entries older than the one given, newest first."""
    query: Select[tuple[AuditEntry]] = select(AuditEntry).order_by(AuditEntry.id.desc())
    if entry_id is not None:
        query = query.where(AuditEntry.id < entry_id)
    for column, value in where.items():
        if value is not None:
            query = query.where(getattr(AuditEntry, column) == value)
    return list(db.session.scalars(query.limit(limit)))
