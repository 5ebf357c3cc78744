"""One user's timeline: days, visits, events."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from chassis.auth import caller, signed_in
from chassis.client import Refused
from chassis.errors import NotFound, Unavailable
from dashboard_app import reports
from dashboard_app.answers import landing
from dashboard_app.clients import analytics, users
from dashboard_app.pages.overview import chosen
from dashboard_app.session import account
from dashboard_app.timeline import days_of

routes = Blueprint("timeline", __name__)
PAGE = 100


@routes.get("/users/<id:user_id>")
@landing
@signed_in
def page(user_id: int) -> ResponseReturnValue:
    """Shows one page of a user's events: one's own, or anybody's for those who may see them."""
    if user_id != caller().user_id and not caller().may("events:read"):
        raise NotFound()
    filters = chosen()
    params = {"limit": str(PAGE)}
    if cursor := request.args.get("cursor"):
        params["cursor"] = cursor
    answer = analytics().user_events(user_id, params)
    return render_template(
        "timeline/page.html",
        user_id=user_id,
        person=person(user_id),
        filters=filters,
        days=days_of(answer["items"], filters.tz),
        next_cursor=answer["next_cursor"],
        is_first=not cursor,
        colors=reports.lasting_colors(reports.ranking(filters)),
    )


def person(user_id: int) -> dict[str, Any] | None:
    """Returns the account if the caller may know it; its name is no reason to fail."""
    if user_id == caller().user_id:
        return account()
    if not caller().may("accounts:manage"):
        return None
    try:
        return users().account(user_id)
    except (Refused, Unavailable):
        return None
