"""Live: the last half hour, refreshed by polling as long as somebody looks."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from flask import Blueprint, Response, make_response, render_template, request
from flask.typing import ResponseReturnValue

from chassis.auth import caller, requires
from dashboard_app import reports
from dashboard_app.answers import is_fragment, landing
from dashboard_app.behaviour import filters_with
from dashboard_app.behaviour_figures import live_figure
from dashboard_app.cache import ShortCache
from dashboard_app.clients import Json, analytics
from dashboard_app.downloads import csv_answer

routes = Blueprint("live", __name__)
# Many who look at the same time cost the service one call.
answers: ShortCache[Json] = ShortCache(1.5)


@routes.get("/live")
@landing
@requires("reports:read")
def page() -> ResponseReturnValue:
    """Shows the page; to htmx the figures, or nothing (204) while nothing is newer."""
    answer = seen()
    cursor = digest(answer)
    if is_fragment() and request.args.get("cursor") == cursor:
        return Response(status=204)
    template = "live/_report.html" if is_fragment() else "live/page.html"
    html = render_template(template, **shown(answer), cursor=cursor)
    return make_response(html, {"X-Fragment": "1"} if is_fragment() else {})


def seen() -> Json:
    """Returns what is live; with the newest events only for those who may see them."""
    kind = "events" if caller().may("events:read") else "figures"
    return answers.get(kind, analytics().live)


def digest(answer: Json) -> str:
    return hashlib.sha256(json.dumps(answer, sort_keys=True).encode()).hexdigest()[:16]


def shown(answer: Json) -> dict[str, Any]:
    filters = filters_with()
    return {
        "filters": filters,
        "minutes": answer["items"],
        "events": sum(each["count"] for each in answer["items"]),
        "active": answer["active_users"],
        "items": answer.get("events") or [],
        "figure": live_figure(answer["items"], filters.tz),
        "colors": reports.lasting_colors(reports.ranking(filters)),
    }


@routes.get("/live.csv")
@requires("reports:read")
def csv() -> ResponseReturnValue:
    """The minutes as numbers, the oldest first."""
    fields = ("start", "count", "unique_users", "complete")
    rows = [[each[name] for name in fields] for each in seen()["items"]]
    return csv_answer("footfall-live", ("minute", *fields[1:]), rows)
