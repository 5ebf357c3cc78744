"""Removes what has expired; the audit trail and invites stay."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Delete, or_

from chassis.database import delete_in_slices, transaction
from users_app import clock, revocations
from users_app.models import Mail, PasswordReset, RegistrationKey, Session, SignInFailures, db
from users_app.relay.mailer import DEAD_MAILS_STAY
from users_app.relay.queue import rows

ENDED_SESSIONS_STAY = timedelta(days=1)
# An access token outlives its session by up to a day, and may have to be revoked then.
EXPIRED_SESSIONS_STAY = timedelta(days=2)


def remove_expired() -> int:
    """Removes what has expired, dead mails too; returns how many rows."""
    now = clock.now()
    dead = or_(
        Session.expires_at <= now - EXPIRED_SESSIONS_STAY,
        Session.ended_at <= now - ENDED_SESSIONS_STAY,
    )
    with transaction(db.session):
        revoked = revocations.remove_expired()
    return revoked + sum(
        delete_in_slices(removed, model, over)
        for model, over in (
            (Session, dead),
            (PasswordReset, PasswordReset.expires_at <= now),
            (RegistrationKey, RegistrationKey.expires_at <= now),
            (Mail, Mail.dead_at <= now - DEAD_MAILS_STAY),
            (SignInFailures, SignInFailures.window_ends <= now),
        )
    )


def removed(statement: Delete) -> int:
    with transaction(db.session):
        return rows(statement)
