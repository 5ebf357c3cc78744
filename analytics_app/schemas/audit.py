"""The audit trail as it is asked for and answered."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from chassis.pagination import PageQuery
from chassis.schema import SPARSE, Id, Model, Page, Timestamp

ActorKind = Literal["user", "key", "service", "command"]


class AuditEntryOut(Model):
    """Who did what, when and from where; `account_id` is the account concerned."""

    id: Id
    created_at: Timestamp
    action: str
    actor_kind: ActorKind
    actor_id: int | None
    account_id: int | None
    address: str
    request_id: str | None
    details: dict[str, Any]


class AuditQuery(PageQuery):
    """Which entries to list."""

    listed = "audit"
    item = AuditEntryOut

    action: str | None = Field(None, max_length=40)
    actor_kind: ActorKind | None = None
    actor_id: Id | None = Field(None, description="an account's id; with actor_kind=key, a key's")
    account_id: Id | None = None


class SparseAuditEntry(AuditEntryOut):
    """An entry, or the fields of it that were asked for."""

    model_config = SPARSE


class AuditPage(Page):
    """Entries of the audit trail, the newest first."""

    items: list[SparseAuditEntry]
