"""Accounts by their ids, by their names, and by search."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from chassis.errors import Conflict, FieldError, NotFound
from chassis.keyset import equal, rows_of
from chassis.pagination import Paging
from users_app import names
from users_app.models import User, db

TAKEN = "is taken by another account"


def account(user_id: int) -> User:
    """Returns the account; raises NotFound."""
    found = db.session.get(User, user_id)
    if found is None:
        raise no_such_account()
    return found


def locked(user_id: int) -> User:
    """Returns the account as it is now, locked until the transaction ends; raises NotFound."""
    query = select(User).where(User.id == user_id).with_for_update()
    found = db.session.scalar(query.execution_options(populate_existing=True))
    if found is None:
        raise no_such_account()
    return found


def locked_by_email(email: str) -> User | None:
    """Returns the account with this address, in whatever case and form of its domain, locked."""
    query = select(User).where(User.email_key == names.address_key(email)).with_for_update()
    return db.session.scalar(query.execution_options(populate_existing=True))


def accounts(
    query: Paging,
    *,
    ids: Sequence[int] = (),
    q: str | None = None,
    role: str | None = None,
    is_active: bool | None = None,
) -> list[User]:
    """Returns a page's accounts, newest first, and one more.

    `q` is looked for, in any case, in email, username and full name; `ids` leaves out others.
    """
    chosen = select(User).where(*equal(User, role=role))
    if ids:
        chosen = chosen.where(User.id.in_(ids))
    if q:
        chosen = chosen.where(User.search_text.contains(names.key(q), autoescape=True))
    if is_active is not None:
        chosen = chosen.where(User.is_active.is_(is_active))
    return rows_of(db.session, chosen, query, User.id)


def refuse_taken(email: str | None, username: str | None, *, but: int | None = None) -> None:
    """Raises Conflict that names each of the two that another account has."""
    wanted = {}
    if email is not None:
        wanted["email"] = User.email_key == names.address_key(email)
    if username is not None:
        wanted["username"] = User.username_key == names.key(username)
    owners = {field: db.session.scalar(select(User.id).where(has)) for field, has in wanted.items()}
    if taken := [field for field, owner in owners.items() if owner not in (None, but)]:
        raise conflict(taken)


def conflict(fields: list[str]) -> Conflict:
    """Returns the problem that names the fields taken."""
    detail = " and ".join(fields).capitalize()
    problem = Conflict(f"{detail} {'are' if len(fields) > 1 else 'is'} taken by another account.")
    problem.errors = [FieldError(field, TAKEN) for field in fields]
    return problem


def no_such_account() -> NotFound:
    return NotFound("There is no such account.")
