"""The audit trail: entries are added in the transaction of the change, and never touched."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import select

from chassis.keyset import equal, rows_of
from chassis.pagination import Paging
from users_app import clock
from users_app.models import AuditEntry, User, db
from users_app.origin import Origin

ROWS_AT_ONCE = 1_000


def record(action: str, account_id: int | None, origin: Origin, **details: Any) -> None:
    """Adds an entry; `details` holds ids, roles and field names, never a person's data."""
    db.session.add(
        AuditEntry(
            created_at=clock.now(),
            action=action,
            actor_id=origin.actor_id,
            account_id=account_id,
            address=origin.address,
            user_agent=origin.user_agent or None,
            request_id=origin.request_id,
            details=details,
        )
    )


def entries(query: Paging, **where: str | int | None) -> list[AuditEntry]:
    """Returns a page's entries with these values, newest first, and one more."""
    chosen = select(AuditEntry).where(*equal(AuditEntry, **where))
    return rows_of(db.session, chosen, query, AuditEntry.id)


def entries_about(account_id: int) -> Iterable[AuditEntry]:
    """Returns every entry about one account, oldest first, some at a time: there may be many."""
    query = select(AuditEntry).where(AuditEntry.account_id == account_id).order_by(AuditEntry.id)
    return db.session.scalars(query, execution_options={"yield_per": ROWS_AT_ONCE})


def usernames(entries: list[AuditEntry]) -> dict[int, str]:
    """Returns the present names of the accounts that the entries mention."""
    ids = {each for entry in entries for each in (entry.actor_id, entry.account_id) if each}
    found = db.session.execute(select(User.id, User.username).where(User.id.in_(ids)))
    return {row.id: row.username for row in found}
