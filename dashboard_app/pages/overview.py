"""The overview: a frame that loads at once, and panels that fetch themselves in parallel."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

from flask import Blueprint, Response, current_app, make_response, render_template, request, url_for
from flask.typing import ResponseReturnValue

from chassis import time_zones
from chassis.auth import requires
from dashboard_app import filters as filtering
from dashboard_app import first_run, reports
from dashboard_app.answers import is_fragment, landing
from dashboard_app.clients import analytics
from dashboard_app.downloads import csv_answer
from dashboard_app.filters import PRESETS, Filters
from dashboard_app.forms import once

routes = Blueprint("overview", __name__)
LATEST = 9


def chosen() -> Filters:
    """Returns the filters of this request's address."""
    zone = current_app.extensions["settings"].reporting_timezone
    return filtering.read(request.args, zone)


@routes.get("/")
@landing
@requires("reports:read")
def page() -> ResponseReturnValue:
    """Shows the frame; to htmx only the filter bar, with word to the panels to follow it."""
    filters = chosen()
    shown = {"filters": filters, "presets": PRESETS}
    if not is_fragment():
        begun = {"is_first_run": first_run.is_now(filters), "address": api_address()}
        return render_template("overview/page.html", **shown, **begun)
    answer = make_response(render_template("_filters.html", **shown))
    answer.headers["HX-Trigger-After-Settle"] = json.dumps({name: {} for name in news(filters)})
    answer.headers["HX-Push-Url"] = filters.url(url_for("overview.page"))
    return answer


def news(filters: Filters) -> list[str]:
    """Returns what panels must hear of a change.

    `metric` concerns the line alone; `events` also the newest events, which have no range.
    """
    address = urlsplit(request.headers.get("HX-Current-URL", ""))
    before = filtering.read(dict(parse_qsl(address.query)), filters.default_tz)
    if before.metric != filters.metric and before.query(metric=filters.metric) == filters.query():
        return ["metric"]
    same_events = (before.event_type, before.tz) == (filters.event_type, filters.tz)
    return ["filters"] if same_events else ["filters", "events"]


def api_address() -> str:
    address: str = current_app.extensions["settings"].api_address
    return address


@routes.get("/overview/first-run")
@requires("reports:read")
def first_run_card() -> ResponseReturnValue:
    """Nothing new (204) while the card is of use; an empty answer takes it away."""
    return Response(status=204 if first_run.is_now(chosen()) else 200)


@routes.post("/overview/first-run")
@requires("keys:manage")
def first_key() -> ResponseReturnValue:
    """Makes a key, and shows the card with it in the line to run."""
    made = once(first_run.make_key)
    return panel("overview/_first_run.html", chosen(), key=made["key"], address=api_address())


@routes.get("/overview/trend")
@requires("reports:read")
def trend() -> ResponseReturnValue:
    """The tiles, and the line of the one that is chosen."""
    filters = chosen()
    shown = reports.trend(filters, datetime.now(UTC))
    return panel("overview/_trend.html", filters, legend=reports.legend(filters), **shown)


@routes.get("/overview/types")
@requires("reports:read")
def types() -> ResponseReturnValue:
    """The shares by event type."""
    filters = chosen()
    return panel("overview/_types.html", filters, **reports.types(filters))


@routes.get("/overview/bars")
@requires("reports:read")
def bars() -> ResponseReturnValue:
    """Counts over time by event type."""
    filters = chosen()
    return panel("overview/_bars.html", filters, **reports.bars(filters))


@routes.get("/overview/latest")
@requires("events:read")
def latest() -> ResponseReturnValue:
    """The newest events."""
    filters = chosen()
    params = {"limit": LATEST} | ({"event_type": filters.event_type} if filters.event_type else {})
    items = analytics().events(params)["items"]
    named = reports.lasting_colors(reports.ranking(filters))
    return panel("overview/_latest.html", filters, items=items, colors=named)


@routes.get("/overview/pulse")
@requires("reports:read")
def pulse() -> ResponseReturnValue:
    """Who is active; 204 while nothing is newer than the cursor, else word to the panels."""
    filters, given = chosen(), request.args.get("cursor", "")
    cursor = reports.pulse(filters)
    if cursor == given:
        return Response(status=204)
    answer = panel("overview/_pulse.html", filters, cursor=cursor, active=cursor.split(".")[0])
    if given and given.split(".")[-1] != cursor.split(".")[-1]:
        answer.headers["HX-Trigger-After-Settle"] = json.dumps({"fresh": {}})
    return answer


@routes.get("/overview/trend.csv")
@requires("reports:read")
def trend_csv() -> ResponseReturnValue:
    """The line's numbers."""
    filters = chosen()
    shown = reports.trend(filters, datetime.now(UTC))
    label = shown["chosen"].label
    rows = [(row.name, row.value, row.previous_name, row.previous) for row in shown["rows"]]
    header = (filters.interval, label, "compared to", f"{label} before")
    return csv_answer(file_name("trend", filters), header, rows)


@routes.get("/overview/types.csv")
@requires("reports:read")
def types_csv() -> ResponseReturnValue:
    """The shares by event type as numbers."""
    filters = chosen()
    found = analytics().by_type(filters.bounds())
    header = ("event_type", "count", "unique_users")
    rows = [[each[name] for name in header] for each in found["items"]]
    if found["other"]["types"]:
        rows.append(["(other)", found["other"]["count"], found["other"]["unique_users"]])
    return csv_answer(file_name("types", filters), header, rows)


@routes.get("/overview/bars.csv")
@requires("reports:read")
def bars_csv() -> ResponseReturnValue:
    """The stacked bars' numbers."""
    filters = chosen()
    shown = reports.bars(filters)
    header = (shown["interval"], *(each.name for each in shown["series"]))
    rows = [(name, *counts) for name, counts in shown["table"]]
    return csv_answer(file_name("over-time", filters), header, rows)


@routes.get("/time-zones")
@requires("reports:read")
def zones() -> ResponseReturnValue:
    """Every time zone's name, for the range form's suggestions."""
    names = sorted(time_zones.NAMES)
    answer = make_response(render_template("overview/_zones.html", names=names))
    answer.headers["Cache-Control"] = "private, max-age=86400"
    return answer


def file_name(what: str, filters: Filters) -> str:
    return f"footfall-{what}-{filters.first}-{filters.last}"


def panel(template: str, filters: Filters, **shown: object) -> Response:
    """Returns the fragment, or a page around it for one who opens its address."""
    frame = template if is_fragment() else "overview/panel.html"
    html = render_template(frame, template=template, filters=filters, **shown)
    return make_response(html, {"X-Fragment": "1"})
