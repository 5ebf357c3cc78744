"""Notes on days: written by hand here, or by programs; drawn on every chart over time."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from chassis.auth import caller, requires
from chassis.client import Refused
from dashboard_app import notes
from dashboard_app.answers import errors_of, landing
from dashboard_app.clients import Json, analytics
from dashboard_app.forms import once
from dashboard_app.pages.overview import api_address, chosen

routes = Blueprint("annotations", __name__)
PAGE = 50
DONE = {"noted": "The note stands on every chart over time.", "deleted": "The note is gone."}


@routes.get("/annotations")
@landing
@requires("reports:read")
def page() -> ResponseReturnValue:
    """Lists the notes, and takes new ones from those who may write them."""
    return listed()


def listed(
    values: dict[str, str] | None = None, errors: dict[str, str] | None = None, status: int = 200
) -> ResponseReturnValue:
    more = {"cursor": cursor} if (cursor := request.args.get("cursor")) else {}
    answer = analytics().annotations({**more, "limit": str(PAGE)})
    today = datetime.now(UTC).astimezone(ZoneInfo(chosen().tz)).date().isoformat()
    html = render_template(
        "annotations/page.html",
        items=[{**item, "mine": is_mine(item)} for item in answer["items"]],
        next_cursor=answer["next_cursor"],
        is_first=not more,
        values={"day": today, "text": ""} | (values or {}),
        errors=errors or {},
        address=api_address(),
        done=DONE.get(request.args.get("done", ""), ""),
    )
    return html, status


def is_mine(item: Json) -> bool:
    return caller().role == "admin" or item["created_by"] == caller().user_id


@routes.post("/annotations")
@requires("events:read")
def write() -> ResponseReturnValue:
    """Stores a note."""
    values = {name: request.form.get(name, "") for name in ("day", "text")}
    try:
        once(lambda: analytics().annotate(values))
    except Refused as refused:
        return listed(values, errors_of(refused), refused.status)
    notes.forget()
    return redirect(url_for("annotations.page", done="noted"), 303)


@routes.post("/annotations/<id:annotation_id>/delete")
@requires("reports:read")
def delete(annotation_id: int) -> ResponseReturnValue:
    """Deletes a note."""
    once(lambda: analytics().delete_annotation(annotation_id))
    notes.forget()
    return redirect(url_for("annotations.page", done="deleted"), 303)
