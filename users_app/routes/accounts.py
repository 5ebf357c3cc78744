"""`/users` and `/users/{id}`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from flask import Blueprint
from flask.typing import ResponseReturnValue

from chassis.api import api
from chassis.auth import Caller, caller, public, requires, signed_in
from chassis.errors import Conflict, FieldError, Forbidden
from users_app import schemas
from users_app.accounts import change, find
from users_app.accounts import register as registration
from users_app.models import User
from users_app.origin import origin
from users_app.routes.shapes import plain

routes = Blueprint("accounts", __name__)
MANAGE = "accounts:manage"
View = TypeVar("View", bound=Callable[..., Any])


def self_or_admin(view: View) -> View:
    """Answers another's account as a missing one, before anything else is looked at."""

    @wraps(view)
    def guarded(user_id: int, **given: Any) -> Any:
        if caller().user_id != user_id and not is_admin(caller()):
            raise find.no_such_account()
        return view(user_id=user_id, **given)

    return guarded  # type: ignore[return-value]


@routes.post("/users")
@api(
    body=schemas.Registration,
    answers={201: schemas.Account},
    errors=(Forbidden, Conflict),
    idempotent=True,
)
@public
def register(
    body: schemas.Registration, idempotency_key: str | None
) -> tuple[schemas.Account, int]:
    """Register.

    Open to anyone, to holders of an invite, or closed, as the installation is set up. Repeated
    with its `Idempotency-Key` and the same body within ten minutes, it is answered with the
    account that it made.
    """
    account = registration.register(registration.Form(**dict(body)), origin(), idempotency_key)
    return shown(account), 201


@routes.get("/users")
@api(query=schemas.AccountQuery, answers={200: schemas.AccountPage})
@requires(MANAGE)
def list_accounts(query: schemas.AccountQuery) -> dict[str, Any]:
    """List and search accounts, newest first."""
    where = query.model_dump(include={"q", "role", "is_active"})
    return query.page(find.accounts(query, ids=query.id, **where), plain(shown))


@routes.get("/users/<id:user_id>")
@self_or_admin
@api(answers={200: schemas.Account})
@signed_in
def get_account(user_id: int) -> schemas.Account:
    """Read an account: one's own, or as an admin any."""
    return shown(find.account(user_id))


@routes.patch("/users/<id:user_id>")
@self_or_admin
@api(
    body=schemas.AccountChange,
    answers={200: schemas.Account},
    errors=(Conflict,),
)
@signed_in
def change_account(user_id: int, body: schemas.AccountChange) -> schemas.Account:
    """Change an account: one's own profile, or as an admin anything of any.

    One's own email and username need `current_password`, an admin's too.
    """
    refuse_guarded(body)
    return changed(user_id, body)


@routes.delete("/users/<id:user_id>")
@self_or_admin
@api(
    body=schemas.DeletionByAnyone,
    body_optional=True,
    answers={204: None},
    errors=(Conflict,),
)
@signed_in
def delete_account(user_id: int, body: schemas.DeletionByAnyone) -> ResponseReturnValue:
    """Delete an account and its events: one's own with the password, or as an admin any."""
    if caller().user_id == user_id:
        change.require_password(user_id, body.current_password, origin())
    change.delete_account(user_id, origin())
    return "", 204


def changed(user_id: int, body: schemas.ProfileChange) -> schemas.Account:
    """Returns the account after the change that its owner or an admin asked for."""
    changes = body.changes()
    own = caller().user_id == user_id
    if own and renames(find.account(user_id), changes):
        change.require_password(user_id, body.current_password, origin())
    return shown(change.change_account(user_id, changes, origin()))


def renames(account: User, changes: dict[str, Any]) -> bool:
    """Whether a name to sign in with becomes another one."""
    present = {"email": account.email, "username": account.username}
    return any(changes.get(field, value) != value for field, value in present.items())


def refuse_guarded(body: schemas.AccountChange) -> None:
    guarded = sorted(body.model_fields_set.intersection(change.GUARDED))
    if guarded and not is_admin(caller()):
        problem = Forbidden("Only an admin may change this.")
        problem.errors = [FieldError(field, "may be changed by an admin only") for field in guarded]
        raise problem


def is_admin(who: Caller) -> bool:
    return who.may(MANAGE)


def shown(account: object) -> schemas.Account:
    """Returns the account as answered."""
    return schemas.Account.model_validate(account, from_attributes=True)
