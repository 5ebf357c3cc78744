"""Removes what has expired; the audit trail and invites stay."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, or_

from chassis.database import transaction
from users_app import clock
from users_app.models import PasswordReset, Session, SignInFailures, db
from users_app.relay.queue import rows

ENDED_SESSIONS_STAY = timedelta(days=1)


def remove_expired() -> int:
    """Removes dead sessions, resets and throttle windows; returns how many rows."""
    now = clock.now()
    dead = or_(Session.expires_at <= now, Session.ended_at <= now - ENDED_SESSIONS_STAY)
    with transaction(db.session):
        return sum(
            rows(statement)
            for statement in (
                delete(Session).where(dead),
                delete(PasswordReset).where(PasswordReset.expires_at <= now),
                delete(SignInFailures).where(SignInFailures.window_ends <= now),
            )
        )
