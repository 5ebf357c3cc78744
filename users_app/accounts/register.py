"""Registration: open, by invite, or closed; and accounts made by a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from chassis.database import transaction
from chassis.errors import Conflict, Forbidden, Invalid
from chassis.telemetry import tell
from users_app import audit, clock, invites, names, outbox
from users_app.accounts import find, repeats
from users_app.models import FirstAccount, User, db
from users_app.origin import Origin
from users_app.parts import parts


@dataclass(frozen=True, slots=True)
class Form:
    """What who registers has filled in."""

    email: str
    username: str
    password: str
    full_name: str | None
    invite: str | None


def register(form: Form, origin: Origin, key: str | None = None) -> User:
    """Adds an account; raises Forbidden, Invalid (the invite) or Conflict (a name taken).

    The same form under the same `key` again, even at the same time, returns the account that
    it made.
    """
    refuse_by_policy(form.invite)
    fields = form.email, form.username, form.full_name, form.invite
    digest = repeats.form_digest(key, *fields) if key else None
    account = repeats.account_made_by(digest, form.password, origin)
    try:
        account = account or made(form, digest, origin)
    except (Conflict, Invalid):  # its twin may have been first
        account = repeats.account_made_by(digest, form.password, origin)
        if account is None:
            raise
    tell(user_id=account.id, account_id=account.id)
    return account


def made(form: Form, digest: str | None, origin: Origin) -> User:
    # First of all: without a valid invite nobody learns who exists, nor has us hash.
    if form.invite:
        invites.look_up(form.invite, form.email)
    find.refuse_taken(form.email, form.username)
    db.session.rollback()
    hashed = parts().hasher.hash(form.password, origin.address)
    with named_conflicts(), transaction(db.session):
        granted = invites.claim(form.invite, form.email) if form.invite else None
        role = granted.role if granted else "viewer"
        if is_first() and parts().settings.first_account_is_admin:
            role = "admin"
        account = added(form.email, form.username, hashed, form.full_name, role)
        if granted:
            invites.mark_used(granted, account.id)
        if digest:
            repeats.remember(digest, account)
        how = "invite" if granted else "open"
        outbox.put_event("user_registered", account.id, registration=how, role=role)
        audit.record("registered", account.id, origin, registration=how, role=role)
    return account


def create_admin(*, email: str, username: str, password: str, origin: Origin) -> User:
    """Adds an account with the role admin; raises Conflict."""
    hashed = parts().hasher.hash(password, origin.address)
    with named_conflicts(), transaction(db.session):
        find.refuse_taken(email, username)
        is_first()
        account = added(email, username, hashed, None, "admin")
        outbox.put_event("user_registered", account.id, registration="command", role="admin")
        audit.record("registered", account.id, origin, registration="command", role="admin")
    return account


def refuse_by_policy(invite: str | None) -> None:
    policy = parts().settings.registration
    if policy == "closed":
        raise Forbidden("Registration is closed here.")
    if policy == "invite" and not invite:
        raise Forbidden("Registration is by invite here: ask an admin for one.")


def is_first() -> bool:
    """Whether no account ever existed; of several at once, one alone is the first.

    The row stays when the account goes, and a second insert waits for the first's commit.
    """
    dialect = sqlite if db.engine.dialect.name == "sqlite" else postgresql
    row = dialect.insert(FirstAccount).values(id=1, created_at=clock.now())
    inserted = row.on_conflict_do_nothing().returning(FirstAccount.id)
    return db.session.execute(inserted).first() is not None


def added(email: str, username: str, hashed: str, full_name: str | None, role: str) -> User:
    now = clock.now()
    account = User(
        email=email,
        email_key=names.address_key(email),
        username=username,
        username_key=names.key(username),
        hashed_password=hashed,
        full_name=full_name,
        role=role,
        is_active=True,
        search_text=names.search_text(username, email, full_name),
        created_at=now,
        updated_at=now,
    )
    db.session.add(account)
    db.session.flush()
    return account


@contextmanager
def named_conflicts() -> Iterator[None]:
    """Turns a unique constraint that a parallel change broke into the Conflict it means."""
    try:
        yield
    except IntegrityError as error:
        fields = [each for each in ("email", "username") if each in constraint(error.orig)]
        if not fields:
            raise
        raise find.conflict(fields) from None


def constraint(error: Any) -> str:
    """Returns the name of the broken constraint; SQLite says it in its message only."""
    diagnosis = getattr(error, "diag", None)
    return str(diagnosis.constraint_name) if diagnosis else str(error)
