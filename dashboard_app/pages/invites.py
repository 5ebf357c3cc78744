"""Invites, for admins."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from chassis.auth import requires
from chassis.client import Refused
from dashboard_app.answers import errors_of, landing
from dashboard_app.clients import users
from dashboard_app.forms import once
from dashboard_app.pages.accounts import MANAGE, ROLES
from dashboard_app.pages.overview import chosen

routes = Blueprint("invites", __name__)
PAGE = 25
DONE = {"withdrawn": "The invite is withdrawn: its code is dead."}


@routes.get("/invites")
@landing
@requires(MANAGE)
def page() -> ResponseReturnValue:
    """Shows the form and one page of invites."""
    return shown()


def shown(
    *,
    made: dict[str, Any] | None = None,
    values: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    status: int = 200,
) -> ResponseReturnValue:
    more = {"cursor": cursor} if (cursor := request.args.get("cursor")) else {}
    answer = users().invites({**more, "limit": str(PAGE)})
    page = render_template(
        "invites/page.html",
        items=answer["items"],
        next_cursor=answer["next_cursor"],
        is_first=not more,
        made=made,
        values=values or {},
        errors=errors or {},
        roles=ROLES,
        tz=chosen().tz,
        done=DONE.get(request.args.get("done", ""), ""),
    )
    return page, status


@routes.post("/invites")
@requires(MANAGE)
def invite() -> ResponseReturnValue:
    """Makes an invite and shows its link, this once."""
    values = {
        name: request.form.get(name, "").strip() for name in ("email", "role", "expires_in_days")
    }
    try:
        made = once(lambda: users().invite(body_of(values)))
    except Refused as refused:
        return shown(values=values, errors=errors_of(refused), status=refused.status)
    return shown(made=made, status=201)


def body_of(values: dict[str, str]) -> dict[str, Any]:
    """Returns the API's body; a number that is none goes as it is, and is complained about."""
    body: dict[str, Any] = {name: text for name, text in values.items() if text}
    days = values.get("expires_in_days", "")
    if days.isascii() and days.isdigit() and len(days) < 9:
        body["expires_in_days"] = int(days)
    return body


@routes.post("/invites/<id:invite_id>/withdraw")
@requires(MANAGE)
def withdraw(invite_id: int) -> ResponseReturnValue:
    """Withdraws an invite."""
    once(lambda: users().withdraw_invite(invite_id))
    return redirect(url_for("invites.page", done="withdrawn"), 303)
