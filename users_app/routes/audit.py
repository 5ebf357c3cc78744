"""`/audit`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from chassis.api import api
from chassis.auth import requires
from users_app import audit, schemas
from users_app.models import AuditEntry
from users_app.routes.shapes import plain

routes = Blueprint("audit", __name__)


@routes.get("/audit")
@api(query=schemas.AuditQuery, answers={200: schemas.AuditPage})
@requires("accounts:manage")
def list_audit_entries(query: schemas.AuditQuery) -> dict[str, Any]:
    """Read who did what to which account, sign-ins too, newest first."""
    where = {"action": query.action, "actor_id": query.actor_id, "account_id": query.account_id}
    found = audit.entries(query, **where)
    usernames = audit.usernames(found)
    return query.page(found, plain(lambda entry: shown(entry, usernames)))


def shown(entry: AuditEntry, usernames: dict[int, str]) -> schemas.AuditAnswer:
    return schemas.AuditAnswer(
        id=entry.id,
        created_at=entry.created_at,
        action=entry.action,
        actor_id=entry.actor_id,
        actor_username=usernames.get(entry.actor_id or 0),
        account_id=entry.account_id,
        account_username=usernames.get(entry.account_id or 0),
        address=entry.address,
        user_agent=entry.user_agent,
        request_id=entry.request_id,
        details=entry.details,
    )
