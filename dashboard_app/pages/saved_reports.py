"""Saved reports: a report's parameters under a name, for everybody of this installation."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from chassis.auth import caller, requires
from chassis.client import Refused
from dashboard_app.answers import errors_of, landing
from dashboard_app.clients import Json, analytics
from dashboard_app.forms import once
from dashboard_app.pages.overview import chosen

routes = Blueprint("saved_reports", __name__)
PAGE = 50
PAGES = {
    "overview": ("overview.page", "Overview"),
    "events": ("events.page", "Events"),
    "funnels": ("funnels.page", "Funnel"),
    "retention": ("retention.page", "Retention"),
    "paths": ("paths.page", "Paths"),
    "properties": ("properties.page", "Properties"),
    "breakdown": ("properties.page", "Breakdown"),
}
DONE = {"saved": "Saved. Everybody here finds it in this list.", "deleted": "The report is gone."}


@routes.get("/saved-reports")
@landing
@requires("reports:read")
def page() -> ResponseReturnValue:
    """Lists the saved reports."""
    return listed()


def listed(errors: dict[str, str] | None = None, status: int = 200) -> ResponseReturnValue:
    more = {"cursor": cursor} if (cursor := request.args.get("cursor")) else {}
    answer = analytics().saved_reports({**more, "limit": str(PAGE)})
    html = render_template(
        "saved_reports/page.html",
        items=[{**item, "kind": PAGES[item["report"]][1], "mine": is_mine(item)}
               for item in answer["items"]],
        next_cursor=answer["next_cursor"],
        is_first=not more,
        errors=errors or {},
        tz=chosen().tz,
        done=DONE.get(request.args.get("done", ""), ""),
    )  # fmt: skip
    return html, status


def is_mine(item: Json) -> bool:
    return caller().role == "admin" or item["created_by"] == caller().user_id


@routes.get("/saved-reports/<id:report_id>")
@landing
@requires("reports:read")
def one(report_id: int) -> ResponseReturnValue:
    """Leads to the report as it was saved: this is the link to share."""
    found = analytics().saved_report(report_id)
    address = url_for(PAGES[found["report"]][0])
    # Written anew: older ones may hold what no header can.
    query = urlencode(parse_qsl(found["query"], keep_blank_values=True))
    return redirect(f"{address}?{query}" if query else address)


@routes.post("/saved-reports")
@requires("reports:read")
def save() -> ResponseReturnValue:
    """Saves what a report's page was looking at."""
    body = {name: request.form.get(name, "") for name in ("name", "report", "query")}
    try:
        once(lambda: analytics().save_report(body))
    except Refused as refused:
        return listed(errors_of(refused), refused.status)
    return redirect(url_for("saved_reports.page", done="saved"), 303)


@routes.post("/saved-reports/<id:report_id>/delete")
@requires("reports:read")
def delete(report_id: int) -> ResponseReturnValue:
    """Deletes a saved report."""
    once(lambda: analytics().delete_saved_report(report_id))
    return redirect(url_for("saved_reports.page", done="deleted"), 303)
