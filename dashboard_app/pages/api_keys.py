"""Keys for other programs, for admins."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from chassis.auth import requires
from chassis.client import Refused
from dashboard_app.answers import errors_of, landing
from dashboard_app.clients import analytics
from dashboard_app.forms import once
from dashboard_app.names import usernames
from dashboard_app.pages.invites import body_of
from dashboard_app.pages.overview import chosen

routes = Blueprint("api_keys", __name__)
MANAGE = "keys:manage"
SCOPES = (
    ("events:write", "Send events", "any event, for any user or none"),
    ("events:read", "Read events", "what an analyst may read"),
    ("reports:read", "Read reports", "what a viewer may read"),
)
DONE = {"deleted": "The key is deleted: it is dead within seconds."}


@routes.get("/api-keys")
@landing
@requires(MANAGE)
def page() -> ResponseReturnValue:
    """Shows the form and the keys there are."""
    return shown()


def shown(
    *,
    made: dict[str, Any] | None = None,
    values: dict[str, Any] | None = None,
    errors: dict[str, str] | None = None,
    status: int = 200,
) -> ResponseReturnValue:
    more = {"cursor": cursor} if (cursor := request.args.get("cursor")) else {}
    answer = analytics().api_keys({**more, "limit": "25"})
    names = usernames(each["created_by"] for each in answer["items"])
    page = render_template(
        "api_keys/page.html",
        items=answer["items"],
        usernames=names or {},
        names_are_known=names is not None,
        next_cursor=answer["next_cursor"],
        is_first=not more,
        made=made,
        values=values or {"scopes": ["events:write"]},
        errors=errors or {},
        scopes=SCOPES,
        address=current_app.extensions["settings"].api_address,
        tz=chosen().tz,
        done=DONE.get(request.args.get("done", ""), ""),
    )
    return page, status


@routes.post("/api-keys")
@requires(MANAGE)
def make() -> ResponseReturnValue:
    """Makes a key and shows it, this once, with a line to try it by."""
    texts = {name: request.form.get(name, "").strip() for name in ("name", "expires_in_days")}
    scopes = request.form.getlist("scopes")
    values = {**texts, "scopes": scopes}
    try:
        made = once(lambda: analytics().make_api_key({**body_of(texts), "scopes": scopes}))
    except Refused as refused:
        return shown(values=values, errors=errors_of(refused), status=refused.status)
    return shown(made=made, status=201)


@routes.post("/api-keys/<id:key_id>/delete")
@requires(MANAGE)
def delete(key_id: int) -> ResponseReturnValue:
    """Deletes a key."""
    once(lambda: analytics().delete_api_key(key_id))
    return redirect(url_for("api_keys.page", done="deleted"), 303)
