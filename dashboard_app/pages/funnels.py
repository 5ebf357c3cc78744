"""Funnels: ordered steps, how many people do them, and where the others stop."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue

from chassis.auth import caller, requires
from dashboard_app.answers import landing
from dashboard_app.behaviour import asked, event_type, filters_with, one_of, shown, text
from dashboard_app.behaviour_figures import funnel_figure
from dashboard_app.clients import Json, analytics
from dashboard_app.downloads import csv_answer
from dashboard_app.filters import Filters
from dashboard_app.pages.overview import file_name

routes = Blueprint("funnels", __name__)
MOST_STEPS = 8
WINDOWS = [("1h", "1 hour"), ("1d", "1 day"), ("7d", "7 days"), ("14d", "14 days"),
           ("30d", "30 days"), ("90d", "90 days")]  # fmt: skip
Step = dict[str, str]


@routes.get("/funnels")
@landing
@requires("reports:read")
def page() -> ResponseReturnValue:
    """Shows the steps, their funnel, and for analysts who stopped at one of them."""
    steps, filters = steps_asked(), filters_asked()
    what: dict[str, Any] = {"answer": None, "complaint": "", "problem": None, "stopped": None}
    body = body_of(steps, filters)
    if len(steps) >= 2:
        what |= asked(lambda: analytics().funnel(body))
    if what["answer"]:
        what["figure"] = funnel_figure(what["answer"]["steps"], filters.url())
        what["stopped"] = stopped(body, len(steps))
    blank = {"event_type": "", "where": ""}
    fields = [*steps, *([blank] * max(1, 2 - len(steps)))][:MOST_STEPS]
    own = {"fields": fields, "windows": WINDOWS, "window": window(), "by": by()}
    return shown("funnels", filters, **own, **what)


def steps_asked() -> list[Step]:
    """Returns the steps of the address that name an event type."""
    found = [
        {"event_type": event_type(f"step{n}"), "where": text(f"where{n}")}
        for n in range(1, MOST_STEPS + 1)
    ]
    return [step for step in found if step["event_type"]]


def filters_asked() -> Filters:
    own: dict[str, str] = {}
    for n, step in enumerate(steps_asked(), 1):
        own |= {f"step{n}": step["event_type"], f"where{n}": step["where"]}
    usual = "" if window() == "7d" else window()
    return filters_with(**own, window=usual, by=by())


def window() -> str:
    return one_of("window", WINDOWS, "7d")


def by() -> str:
    return text("by") if caller().may("events:read") else ""


def body_of(steps: list[Step], filters: Filters) -> Json:
    """Returns what the service is asked."""
    body: Json = {
        "steps": [
            {"event_type": step["event_type"], "metadata": condition(step["where"])}
            for step in steps
        ],
        "window": window(),
        **filters.bounds(),
    }
    return body | ({"breakdown": by()} if by() else {})


def condition(where: str) -> dict[str, str]:
    """Returns `plan=pro` as a property and its value; without both there is no condition."""
    key, found, value = where.partition("=")
    return {key.strip(): value.strip()} if found and key.strip() else {}


def stopped(body: Json, steps: int) -> Json | None:
    """Returns the users who stopped before the step that the address names, for analysts."""
    number = text("stopped")
    if not (caller().may("events:read") and number in map(str, range(2, steps + 1))):
        return None
    return analytics().funnel_dropped({**body, "step": int(number), "limit": 100})


@routes.get("/funnels.csv")
@requires("reports:read")
def csv() -> ResponseReturnValue:
    """The funnel's numbers, by value too if it is broken down."""
    filters = filters_asked()
    answer = analytics().funnel(body_of(steps_asked(), filters))
    header = ("value", "step", "event_type", *NUMBERS)
    rows = rows_of("", answer["steps"])
    for group in answer.get("breakdown") or []:
        rows += rows_of("(other)" if group["other"] else group["value"], group["steps"])
    return csv_answer(file_name("funnel", filters), header, rows)


NUMBERS = ("users", "conversion", "step_conversion", "dropped", "median_seconds")


def rows_of(value: str | None, steps: list[Json]) -> list[tuple[Any, ...]]:
    named = "(none)" if value is None else value
    return [
        (named, number, step["event_type"], *(step[name] for name in NUMBERS))
        for number, step in enumerate(steps, 1)
    ]
