"""The audit trail, for admins."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from analytics_app import audit
from analytics_app.models import AuditEntry, db
from analytics_app.schemas.audit import AuditEntryOut, AuditPage, AuditQuery
from chassis.api import api
from chassis.auth import requires

FIELDS = tuple(AuditEntryOut.model_fields)

routes = Blueprint("trail", __name__, url_prefix="/analytics")


@routes.get("/audit")
@requires("accounts:manage")
@api(query=AuditQuery, answers={200: AuditPage})
def list_audit_entries(query: AuditQuery) -> dict[str, Any]:
    """Read who made or deleted keys, exported or erased, newest first."""
    return query.page(audit.entries(db, query, **conditions(query)), shown)


def conditions(query: AuditQuery) -> dict[str, str | int | None]:
    by_account = "user" if query.actor_id else None
    return {
        "action": query.action,
        "actor_kind": query.actor_kind or by_account,
        "actor_id": query.actor_id,
        "account_id": query.account_id,
    }


def shown(entry: AuditEntry) -> dict[str, Any]:
    given = {name: getattr(entry, name) for name in FIELDS}
    return AuditEntryOut(**given).model_dump(mode="json")
