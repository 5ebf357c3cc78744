"""A registration sent twice: its own success, to whoever holds its key and its password.

The key is the sender's random Idempotency-Key. Without it, or for another form, a name that
is taken is taken: nobody learns by it more than before.
"""

from __future__ import annotations

import json
from datetime import timedelta

from sqlalchemy import select

from users_app import clock
from users_app.accounts import find
from users_app.models import RegistrationKey, User, db
from users_app.origin import Origin
from users_app.parts import keyed_digest
from users_app.sign_in import confirmed

# Time for a second click, the way back, or a program's retry.
KEPT = timedelta(minutes=10)


def form_digest(key: str, *fields: str | None) -> str:
    """Returns what tells a form under its key; the password belongs to no such digest."""
    return keyed_digest("registration", json.dumps([key, *fields]).encode()).hex()


def remember(digest: str, account: User) -> None:
    """Keeps which account the form made, within the transaction that makes it."""
    until = clock.now() + KEPT
    db.session.add(RegistrationKey(digest=digest, user_id=account.id, expires_at=until))


def account_made_by(digest: str | None, password: str, origin: Origin) -> User | None:
    """Returns the account that the form has made, or None if it has made none.

    Raises Conflict unless the password is the account's, and TooManyRequests as sign-ins do:
    a wrong one counts there.
    """
    if digest is None:
        return None
    query = select(RegistrationKey.user_id).where(
        RegistrationKey.digest == digest, RegistrationKey.expires_at > clock.now()
    )
    user_id = db.session.scalar(query)
    if user_id is None:
        return None
    if not confirmed(user_id, password, origin):
        raise find.conflict(["email", "username"])
    return find.account(user_id)
