"""Signing in by password: the same answer, after the same work, whatever went wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, select

from chassis.database import transaction
from chassis.errors import Unauthenticated
from chassis.telemetry import tell
from users_app import audit, names, outbox, throttle
from users_app.models import User, db
from users_app.origin import Origin
from users_app.parts import parts
from users_app.sessions import Grant, open_session
from users_app.throttle import Failures

NOBODY = 0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is known of the account before its password is checked."""

    user_id: int
    hashed_password: str | None


def sign_in(identifier: str, password: str, origin: Origin) -> Grant:
    """Opens a session; raises Unauthenticated, or TooManyRequests for a hammering address.

    No connection is held while the password is hashed. The attempt is counted, judged and
    answered in one transaction, so that parallel guesses can't outrun the limit.
    """
    throttle.refuse_hammering(origin.address)
    known = credentials(identifier)
    db.session.rollback()
    if known.user_id != NOBODY:
        tell(account_id=known.user_id)
    matches = parts().hasher.matches(known.hashed_password, password, origin.address)
    better_hash = rehashed(known, password, origin) if matches else None
    with transaction(db.session):
        failures = throttle.count_attempt(subject(known, identifier), origin.address)
        account = locked_account(known)
        if reason := refusal(account, known, matches=matches, allowed=failures.allowed):
            grant = None
            tell_of_failure(account, reason)
            audit_failure("sign_in_failed", known.user_id, reason, failures, origin)
        else:
            throttle.forgive(subject(known, identifier), origin.address)
            grant = admit(account, better_hash, origin)  # type: ignore[arg-type]
    if grant is None:
        raise Unauthenticated(
            "The username or password is wrong, or there were too many attempts: "
            "check both, or wait a while."
        )
    tell(user_id=grant.account.id)
    return grant


def credentials(identifier: str) -> Credentials:
    """Returns the account of a username or email, or one of nobody."""
    query = select(User.id, User.hashed_password).where(has_name(identifier))
    row = db.session.execute(query).first()
    return Credentials(row.id, row.hashed_password) if row else Credentials(NOBODY, None)


def has_name(identifier: str) -> ColumnElement[bool]:
    """Returns the condition for an account's username or email; no username holds an @."""
    if "@" in identifier:
        return User.email_key == names.address_key(identifier)
    return User.username_key == names.key(identifier)


def subject(known: Credentials, identifier: str) -> str:
    """Names what failures count for: the account under all its names, or the name itself."""
    if known.user_id != NOBODY:
        return f"account {known.user_id}"
    return f"name {names.key(identifier)}"


def locked_account(known: Credentials) -> User | None:
    query = select(User).where(User.id == known.user_id).with_for_update()
    return db.session.scalar(query)


def refusal(
    account: User | None, known: Credentials, *, matches: bool, allowed: bool
) -> str | None:
    """Returns why the attempt fails, or None if it doesn't."""
    if not allowed:
        return "locked"
    # The password may have been changed, or the account removed, while this one was hashed.
    if account is None or not matches or account.hashed_password != known.hashed_password:
        return "wrong_password"
    return None if account.is_active else "disabled"


def tell_of_failure(account: User | None, reason: str) -> None:
    """Puts the event; for nobody the same work is done and undone, so that time tells nothing."""
    if account:
        outbox.put_event("user_login_failed", account.id, reason=reason)
        return
    undone = db.session.begin_nested()
    outbox.put_event("user_login_failed", NOBODY, reason=reason)
    db.session.flush()
    undone.rollback()


def audit_failure(
    action: str, account_id: int, reason: str, failures: Failures, origin: Origin
) -> None:
    """Adds entries no faster than the throttle lets failures in; what was typed isn't in them."""
    if failures.audited:
        reason = reason if account_id != NOBODY else "unknown_account"
        audit.record(action, account_id or None, origin, reason=reason)
    if failures.ends_here:
        audit.record("address_throttled", None, origin, failures=failures.of_address)


def admit(account: User, better_hash: str | None, origin: Origin) -> Grant:
    if better_hash:
        account.hashed_password = better_hash
    outbox.put_event("user_logged_in", account.id, method="password")
    audit.record("signed_in", account.id, replace(origin, actor_id=account.id), method="password")
    return open_session(account, origin)


def rehashed(known: Credentials, password: str, origin: Origin) -> str | None:
    """Returns a hash at the present cost if the stored one is cheaper."""
    hasher = parts().hasher
    if known.hashed_password and hasher.is_outdated(known.hashed_password):
        return hasher.hash(password, origin.address)
    return None


def confirmed(account_id: int, password: str, origin: Origin) -> bool:
    """Whether it is the account's password; failures count as those of sign-ins do."""
    throttle.refuse_hammering(origin.address)
    query = select(User.hashed_password).where(User.id == account_id)
    stored = db.session.scalar(query)
    db.session.rollback()
    matches = parts().hasher.matches(stored, password, origin.address)
    with transaction(db.session):
        failures = throttle.count_attempt(f"account {account_id}", origin.address)
        if right := matches and failures.allowed:
            throttle.forgive(f"account {account_id}", origin.address)
        else:
            reason = "wrong_password" if failures.allowed else "locked"
            audit_failure("password_refused", account_id, reason, failures, origin)
    return right
