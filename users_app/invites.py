"""Invites: made by admins, used once, known only by a digest."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from sqlalchemy import select

from chassis.database import transaction
from chassis.errors import FieldError, Invalid, NotFound
from chassis.keyset import rows_of
from chassis.pagination import Paging
from users_app import audit, clock, names
from users_app.keys import base64url
from users_app.mails import put_mail
from users_app.models import Invite, db
from users_app.origin import Origin
from users_app.parts import keyed_digest, parts


def invite(email: str | None, role: str, days: int | None, origin: Origin) -> tuple[Invite, str]:
    """Returns a new invite and its code, mailed too if there is an address."""
    now = clock.now()
    salt = secrets.token_bytes(16)
    made = Invite(
        salt=salt,
        digest=digest(code(salt)),
        email=email,
        role=role,
        created_by=origin.actor_id,
        created_at=now,
        expires_at=now + timedelta(days=days or parts().settings.invite_days),
    )
    with transaction(db.session):
        db.session.add(made)
        db.session.flush()
        if email:
            put_mail("invite", email, invite_id=made.id)
        audit.record("invited", None, origin, invite_id=made.id, role=role)
    return made, code(salt)


def code(salt: bytes) -> str:
    """Returns the code of an invite: derived, so that it can be mailed and isn't kept."""
    return base64url(keyed_digest("invite", salt))


def link(invite_code: str) -> str:
    """Returns where the invited person registers, under the configured address."""
    return f"{parts().settings.public_url}/register?invite={invite_code}"


def digest(invite_code: str) -> str:
    return hashlib.sha256(invite_code.encode()).hexdigest()


def claim(invite_code: str, email: str) -> Invite:
    """Returns the invite, locked until the registration is stored; raises Invalid."""
    return look_up(invite_code, email, locked=True)


def look_up(invite_code: str, email: str, *, locked: bool = False) -> Invite:
    """Returns the invite if it is good for the address; raises Invalid."""
    query = select(Invite).where(Invite.digest == digest(invite_code))
    if locked:
        query = query.with_for_update().execution_options(populate_existing=True)
    found = db.session.scalar(query)
    if found is None or found.used_at or found.expires_at <= clock.now():
        raise Invalid([FieldError("invite", "is unknown, used or expired: ask for a new one")])
    if found.email and names.address_key(found.email) != names.address_key(email):
        raise Invalid([FieldError("invite", "was sent to another email address")])
    return found


def mark_used(found: Invite, user_id: int) -> None:
    """Spends the invite, within the transaction; the address it was sent to is forgotten."""
    found.used_at = clock.now()
    found.used_by = user_id
    found.email = None


def invites(query: Paging) -> list[Invite]:
    """Returns a page's invites, newest first, and one more."""
    return rows_of(db.session, select(Invite), query, Invite.id)


def withdraw(invite_id: int, origin: Origin) -> None:
    """Deletes the invite; raises NotFound."""
    with transaction(db.session):
        found = db.session.get(Invite, invite_id)
        if found is None:
            raise NotFound("There is no such invite.")
        db.session.delete(found)
        audit.record("invite_withdrawn", None, origin, invite_id=invite_id)
