"""Who did what to which account, for admins."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from chassis.auth import requires
from dashboard_app.answers import landing
from dashboard_app.clients import users
from dashboard_app.pages.overview import chosen

routes = Blueprint("audit", __name__)
PAGE = 25
FIELDS = ("action", "actor_id", "account_id")


@routes.get("/audit")
@landing
@requires("accounts:manage")
def page() -> ResponseReturnValue:
    """Shows one page of the trail."""
    wanted = {name: request.args.get(name, "").strip() for name in FIELDS}
    asked = {name: value for name, value in wanted.items() if value}
    more = {"cursor": cursor} if (cursor := request.args.get("cursor")) else {}
    answer = users().audit({**asked, **more, "limit": str(PAGE)})
    return render_template(
        "audit/page.html",
        items=answer["items"],
        next_cursor=answer["next_cursor"],
        is_first=not more,
        wanted=wanted,
        asked=asked,
        tz=chosen().tz,
    )
