"""Who did what, at both services, for admins."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from chassis.auth import requires
from dashboard_app import trail
from dashboard_app.answers import landing
from dashboard_app.pages.overview import chosen

routes = Blueprint("audit", __name__)
FIELDS = ("action", "actor_id", "account_id")
MISSING = {
    "users": "The users service is not answering: what was done to accounts is missing here.",
    "analytics": "The analytics service is not answering: what was done to keys and events, "
    "exports and erasures, is missing here.",
}


@routes.get("/audit")
@landing
@requires("accounts:manage")
def page() -> ResponseReturnValue:
    """Shows one page of both trails."""
    wanted = {name: request.args.get(name, "").strip() for name in FIELDS}
    asked = {name: value for name, value in wanted.items() if value}
    cursor = request.args.get("cursor")
    found = trail.page(asked, cursor)
    return render_template(
        "audit/page.html",
        items=found.items,
        next_cursor=found.next_cursor,
        missing=[MISSING[each] for each in found.missing],
        names_are_known=found.names_are_known,
        is_first=not cursor,
        wanted=wanted,
        asked=asked,
        tz=chosen().tz,
    )
