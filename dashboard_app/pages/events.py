"""The explorer: every event, newest first."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from chassis.auth import requires
from dashboard_app import reports
from dashboard_app.answers import landing
from dashboard_app.clients import analytics
from dashboard_app.pages.overview import chosen

routes = Blueprint("events", __name__)
PAGE = 50


@routes.get("/events")
@landing
@requires("events:read")
def page() -> ResponseReturnValue:
    """Shows one page of events."""
    filters = chosen()
    params = {"limit": PAGE, **filters.bounds()}
    if filters.event_type:
        params["event_type"] = filters.event_type
    if cursor := request.args.get("cursor"):
        params["cursor"] = cursor
    answer = analytics().events(params)
    named = reports.lasting_colors(reports.ranking(filters))
    return render_template(
        "events/page.html",
        filters=filters,
        items=answer["items"],
        next_cursor=answer["next_cursor"],
        colors=named,
    )
