"""Changes of profile, role, standing and password, and the rules that guard them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select

from chassis.database import transaction
from chassis.errors import Conflict, FieldError, Forbidden, Invalid
from users_app import audit, clock, names, outbox, passwords, sessions, throttle
from users_app.accounts import find
from users_app.accounts.register import named_conflicts
from users_app.mails import drop_mails, put_mail
from users_app.models import PasswordReset, User, db
from users_app.origin import Origin
from users_app.parts import parts
from users_app.sign_in import confirmed

GUARDED = ("role", "is_active")


def change_account(user_id: int, changes: dict[str, Any], origin: Origin) -> User:
    """Sets the given fields; raises NotFound, Forbidden (an admin no longer), Conflict (a name
    taken, the last admin), or TooManyRequests (a new email or role again and again).
    """
    with named_conflicts(), transaction(db.session):
        admins = acting_admins(origin) if any(each in changes for each in GUARDED) else set()
        account = find.locked(user_id)
        changed = {
            field: value for field, value in changes.items() if getattr(account, field) != value
        }
        if any(field in changed for field in GUARDED):
            refuse_last_admin(account, admins)
        find.refuse_taken(changed.get("email"), changed.get("username"), but=user_id)
        if changed:
            apply(account, changed, origin)
    return account


def apply(account: User, changed: dict[str, Any], origin: Origin) -> None:
    role_before, email_before = account.role, account.email
    for field, value in changed.items():
        setattr(account, field, value)
    account.email_key = names.address_key(account.email)
    account.username_key = names.key(account.username)
    account.search_text = names.search_text(account.username, account.email, account.full_name)
    account.updated_at = clock.now()
    if "email" in changed:
        throttle.count_email_change(account.id)
        put_mail("email_changed", email_before)
        void_resets(account.id)
    if "is_active" in changed:
        switch(account, origin)
    if "role" in changed:
        sessions.revoke_tokens(account.id)
        details = {"from": role_before, "to": account.role}
        audit.record("role_changed", account.id, origin, **details)
    tell_of_update(account, changed, origin)
    db.session.flush()


def tell_of_update(account: User, changed: dict[str, Any], origin: Origin) -> None:
    profile = sorted(field for field in changed if field not in GUARDED)
    if profile:
        audit.record("updated", account.id, origin, fields=profile)
    if told := sorted(field for field in changed if field != "is_active"):
        outbox.put_event("user_updated", account.id, fields=told)


def switch(account: User, origin: Origin) -> None:
    if account.is_active:
        outbox.put_event("user_reactivated", account.id)
        audit.record("reactivated", account.id, origin)
        return
    sessions.end_sessions(account.id)
    void_resets(account.id)
    outbox.put_event("user_deactivated", account.id)
    audit.record("deactivated", account.id, origin)


def locked_admins() -> set[int]:
    """Returns the active admins, locked: of two who demote each other, one comes second."""
    query = select(User.id).where(User.role == "admin", User.is_active).order_by(User.id)
    return set(db.session.scalars(query.with_for_update()))


def acting_admins(origin: Origin) -> set[int]:
    """Returns the active admins, locked; raises Forbidden if who acts is none of them.

    Whoever was demoted while this waited for the lock could else take the demotion back.
    """
    admins = locked_admins()
    if origin.actor_id is not None and origin.actor_id not in admins:
        raise Forbidden("Only an admin may do this.")
    return admins


def refuse_last_admin(account: User, admins: set[int]) -> None:
    """Raises Conflict if no other active admin would be left."""
    if admins == {account.id}:
        raise Conflict("This is the last active admin: make another account admin first.")


def delete_account(user_id: int, origin: Origin) -> None:
    """Removes the account, and has analytics erase its events; raises as a change does."""
    by = "self" if origin.actor_id == user_id else "admin"
    with transaction(db.session):
        admins = locked_admins() if by == "self" else acting_admins(origin)
        account = find.locked(user_id)
        refuse_last_admin(account, admins)
        outbox.put_erasure(user_id, by=by)
        drop_mails(account.email)
        audit.record("deleted", user_id, origin, by=by)
        sessions.end_sessions(user_id)
        db.session.delete(account)


def change_password(
    user_id: int, current: str, new: str, origin: Origin, *, session_id: int
) -> None:
    """Sets a new password and ends the other sessions; raises Invalid."""
    refuse_with_username(find.account(user_id), new)
    require_password(user_id, current, origin)
    hashed = parts().hasher.hash(new, origin.address)
    with transaction(db.session):
        account = find.locked(user_id)
        store_password(account, hashed, origin, how="change")
        sessions.end_sessions(user_id, but=session_id)


def store_password(account: User, hashed: str, origin: Origin, *, how: str) -> None:
    """Stores the hash, within the transaction; mailed resets are dead from then on."""
    account.hashed_password = hashed
    account.updated_at = clock.now()
    void_resets(account.id)
    outbox.put_event("user_password_changed", account.id, how=how)
    audit.record("password_changed", account.id, origin, how=how)


def void_resets(user_id: int) -> None:
    db.session.execute(delete(PasswordReset).where(PasswordReset.user_id == user_id))


def refuse_with_username(account: User, password: str) -> None:
    """Raises Invalid for a new password that the account may not have."""
    if found := passwords.complaints(password, account.username):
        raise Invalid([FieldError("new_password", each) for each in found])


def require_password(user_id: int, password: str | None, origin: Origin) -> None:
    """Raises Invalid unless it is the account's password."""
    if password is None:
        raise Invalid([FieldError("current_password", "is required for this")])
    if not confirmed(user_id, password, origin):
        raise Invalid(
            [FieldError("current_password", "is not right, or was tried too often: wait a while")]
        )
