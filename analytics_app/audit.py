"""The audit trail: entries are added in the transaction of the change, and never touched."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import g, has_request_context
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, insert, select

from analytics_app.models import AuditEntry
from chassis.auth import caller
from chassis.keyset import equal, rows_of
from chassis.limits import request_address
from chassis.pagination import Paging

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


def entries(db: SQLAlchemy, query: Paging, **where: str | int | None) -> list[AuditEntry]:
    """Returns a page's entries with these values, newest first, and one more."""
    chosen = select(AuditEntry).where(*equal(AuditEntry, **where))
    return rows_of(db.session, chosen, query, AuditEntry.id)
