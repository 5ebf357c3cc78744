"""Everybody's accounts, for admins."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from chassis.auth import requires
from chassis.client import Refused
from dashboard_app.answers import errors_of, landing
from dashboard_app.clients import users
from dashboard_app.forms import once
from dashboard_app.pages.overview import chosen

routes = Blueprint("accounts", __name__)
MANAGE = "accounts:manage"
ROLES = ("viewer", "analyst", "admin")
PAGE = 25
DONE = {"saved": "The account is saved.", "deleted": "The account is deleted."}


@routes.get("/accounts")
@landing
@requires(MANAGE)
def page() -> ResponseReturnValue:
    """Shows one page of accounts, found by name, email, role and state."""
    wanted = {name: request.args.get(name, "").strip() for name in ("q", "role", "is_active")}
    asked = {name: value for name, value in wanted.items() if value}
    more = {"cursor": cursor} if (cursor := request.args.get("cursor")) else {}
    answer = users().accounts({**asked, **more, "limit": str(PAGE)})
    return render_template(
        "accounts/page.html",
        items=answer["items"],
        next_cursor=answer["next_cursor"],
        wanted=wanted,
        asked=asked,
        is_first=not more,
        roles=ROLES,
        tz=chosen().tz,
        done=DONE.get(request.args.get("done", ""), ""),
    )


@routes.get("/accounts/<id:user_id>")
@landing
@requires(MANAGE)
def one(user_id: int) -> ResponseReturnValue:
    """Shows one account with what may be done to it."""
    return shown(users().account(user_id), {})


def shown(found: dict[str, Any], errors: dict[str, str], status: int = 200) -> ResponseReturnValue:
    page = render_template(
        "accounts/one.html", found=found, errors=errors, roles=ROLES, tz=chosen().tz
    )
    return page, status


@routes.post("/accounts/<id:user_id>")
@requires(MANAGE)
def change(user_id: int) -> ResponseReturnValue:
    """Saves name, role and state; the last active admin stays one."""
    changes = {
        "full_name": request.form.get("full_name", "").strip() or None,
        "role": request.form.get("role", ""),
        "is_active": request.form.get("is_active") == "true",
    }
    try:
        users().change_account(user_id, changes)
    except Refused as refused:
        errors = errors_of(refused)
        return shown({**users().account(user_id), **changes}, errors, refused.status)
    return redirect(url_for("accounts.page", done="saved"), 303)


@routes.post("/accounts/<id:user_id>/delete")
@requires(MANAGE)
def delete(user_id: int) -> ResponseReturnValue:
    """Deletes the account, and has its events erased."""
    try:
        once(lambda: users().delete_account(user_id))
    except Refused as refused:
        return shown(users().account(user_id), errors_of(refused), refused.status)
    return redirect(url_for("accounts.page", done="deleted"), 303)
