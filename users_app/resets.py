"""Forgotten passwords: a mailed code, used once, dead after any change of password or email.

A request only queues a mail to the address given; whether there is an account is looked up
when the mail is sent, so that asking tells nobody.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, select

from chassis.database import transaction
from chassis.errors import FieldError, Invalid
from chassis.telemetry import tell
from users_app import clock, sessions
from users_app.accounts import change, find
from users_app.keys import base64url
from users_app.mails import put_mail
from users_app.models import PasswordReset, User, db
from users_app.origin import Origin
from users_app.parts import keyed_digest, parts

LIFE = timedelta(hours=1)
# Whoever asks again and again for another's address floods nobody's inbox.
LIVE_AT_ONCE = 3


def request(email: str) -> None:
    """Queues a reset mail to the address."""
    with transaction(db.session):
        put_mail("password_reset", email)


def issue(email: str, salt: bytes) -> tuple[str, datetime] | None:
    """Puts the salt's code in force, within the transaction; returns whose address it goes to
    and when it ends, or None. The address is the account's own, never the one asked with.
    """
    # Locked: a code made beside a change of email would outlive it, at the address before.
    account = find.locked_by_email(email)
    if account is None or not account.is_active or live_resets(account) >= LIVE_AT_ONCE:
        return None
    now = clock.now()
    reset = PasswordReset(digest=digest(code(salt)), user_id=account.id)
    reset.created_at, reset.expires_at = now, now + LIFE
    db.session.add(reset)
    return account.email, reset.expires_at


def code(salt: bytes) -> str:
    """Returns the code of a mail: derived, so that each try sends the same and none is kept."""
    return base64url(keyed_digest("password reset", salt))


def address_of(reset_code: str) -> str | None:
    """Returns whose address a code goes to, or None for a dead one."""
    query = select(User.email).join(PasswordReset, PasswordReset.user_id == User.id)
    return db.session.scalar(query.where(*is_live(reset_code)))


def is_live(reset_code: str) -> tuple[ColumnElement[bool], ...]:
    return PasswordReset.digest == digest(reset_code), PasswordReset.expires_at > clock.now()


def revoke(reset_code: str) -> None:
    """Kills a code whose mail was refused, within the transaction."""
    db.session.execute(delete(PasswordReset).where(PasswordReset.digest == digest(reset_code)))


def live_resets(account: User) -> int:
    living = (PasswordReset.user_id == account.id, PasswordReset.expires_at > clock.now())
    return db.session.scalars(select(func.count()).select_from(PasswordReset).where(*living)).one()


def link(reset_code: str) -> str:
    """Returns where the new password is set, under the configured address."""
    return f"{parts().settings.public_url}/password-reset/confirm?token={reset_code}"


def digest(reset_code: str) -> str:
    return hashlib.sha256(reset_code.encode()).hexdigest()


def confirm(reset_code: str, password: str, origin: Origin) -> None:
    """Sets the password and ends all sessions; raises Invalid for a dead code."""
    user_id = owner(reset_code)
    tell(account_id=user_id)
    change.refuse_with_username(find.account(user_id), password)
    db.session.rollback()
    hashed = parts().hasher.hash(password, origin.address)
    with transaction(db.session):
        account = find.locked(user_id)
        # Asked again under the lock: of two who use the code at once, one comes second.
        owner(reset_code)
        change.store_password(account, hashed, origin, how="reset")
        sessions.end_sessions(account.id)
    tell(user_id=user_id)


def owner(reset_code: str) -> int:
    """Returns whose code it is; raises Invalid."""
    found = db.session.scalar(select(PasswordReset.user_id).where(*is_live(reset_code)))
    if found is None:
        raise Invalid([FieldError("token", "is unknown, used or expired: ask for a new mail")])
    return found
