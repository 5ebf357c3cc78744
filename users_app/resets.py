"""Forgotten passwords: a mailed code, used once, dead after any change of password or email.

A request only queues a mail to the address given; whether there is an account is looked up
when the mail is sent, so that asking tells nobody.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from sqlalchemy import delete, func, select

from chassis.database import transaction
from chassis.errors import FieldError, Invalid
from users_app import clock, sessions
from users_app.accounts import change, find
from users_app.mails import put_mail
from users_app.models import PasswordReset, User, db
from users_app.origin import Origin
from users_app.parts import parts

LIFE = timedelta(hours=1)
# Whoever asks again and again for another's address floods nobody's inbox.
LIVE_AT_ONCE = 3


def request(email: str) -> None:
    """Queues a reset mail to the address."""
    with transaction(db.session):
        put_mail("password_reset", email)


def issue(email: str) -> tuple[str, str] | None:
    """Returns a new code and the account's own address, within the transaction, or None.

    The code goes there, never to the address that was asked with.
    """
    # Locked: a code made beside a change of email would outlive it, at the address before.
    account = find.locked_by_email(email)
    if account is None or not account.is_active or live_resets(account) >= LIVE_AT_ONCE:
        return None
    now, code = clock.now(), secrets.token_urlsafe(32)
    reset = PasswordReset(digest=digest(code), user_id=account.id)
    reset.created_at, reset.expires_at = now, now + LIFE
    db.session.add(reset)
    return code, account.email


def revoke(code: str) -> None:
    """Kills a code whose mail could not be sent."""
    with transaction(db.session):
        db.session.execute(delete(PasswordReset).where(PasswordReset.digest == digest(code)))


def live_resets(account: User) -> int:
    living = (PasswordReset.user_id == account.id, PasswordReset.expires_at > clock.now())
    return db.session.scalars(select(func.count()).select_from(PasswordReset).where(*living)).one()


def link(code: str) -> str:
    """Returns where the new password is set, under the configured address."""
    return f"{parts().settings.public_url}/password-reset/confirm?token={code}"


def digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


def confirm(code: str, password: str, origin: Origin) -> None:
    """Sets the password and ends all sessions; raises Invalid for a dead code."""
    user_id = owner(code)
    change.refuse_with_username(find.account(user_id), password)
    db.session.rollback()
    hashed = parts().hasher.hash(password, origin.address)
    with transaction(db.session):
        account = find.locked(user_id)
        # Asked again under the lock: of two who use the code at once, one comes second.
        owner(code)
        change.store_password(account, hashed, origin, how="reset")
        sessions.end_sessions(account.id)


def owner(code: str) -> int:
    """Returns whose code it is; raises Invalid."""
    query = select(PasswordReset.user_id).where(
        PasswordReset.digest == digest(code), PasswordReset.expires_at > clock.now()
    )
    found = db.session.scalar(query)
    if found is None:
        raise Invalid([FieldError("token", "is unknown, used or expired: ask for a new mail")])
    return found
