"""Paths: what people do next after an event, or did before it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue

from chassis.auth import requires
from dashboard_app.answers import landing
from dashboard_app.behaviour import asked, event_type, filters_with, known_types, one_of, shown
from dashboard_app.behaviour_figures import ranking_figure
from dashboard_app.clients import Json, analytics
from dashboard_app.downloads import csv_answer
from dashboard_app.filters import Filters
from dashboard_app.formats import percent, plural
from dashboard_app.pages.overview import file_name

routes = Blueprint("paths", __name__)
DIRECTIONS = [("after", "Next"), ("before", "Before")]
LEVELS = [(str(n), f"{n} steps" if n > 1 else "1 step") for n in range(1, 6)]
GAPS = [("", "Any time"), ("30m", "30 minutes"), ("2h", "2 hours"), ("1d", "1 day")]
MOST = "8"


@routes.get("/paths")
@landing
@requires("reports:read")
def page() -> ResponseReturnValue:
    """Shows the paths of each level."""
    filters = filters_asked()
    start = event_type("start_at") or next(iter(known_types(filters)), "")
    what: dict[str, Any] = {"answer": None, "complaint": "", "problem": None}
    if start:
        what = asked(lambda: analytics().report("paths", params(filters, start)))
    if what["answer"]:
        what["figure"] = ranking_figure(first_steps(what["answer"]), filters.url())
    own = {
        "start_at": start,
        "direction": direction(),
        "levels": one_of("levels", LEVELS, "3"),
        "gap": one_of("gap", GAPS, ""),
        "choices": {"direction": DIRECTIONS, "levels": LEVELS, "gap": GAPS},
    }
    return shown("paths", filters, **own, **what)


def direction() -> str:
    return one_of("direction", DIRECTIONS, "after")


def filters_asked() -> Filters:
    return filters_with(
        start_at=event_type("start_at"),
        direction="before" if direction() == "before" else "",
        levels=one_of("levels", LEVELS, ""),
        gap=one_of("gap", GAPS, ""),
    )


def params(filters: Filters, start: str) -> dict[str, str]:
    asked_for = {
        **filters.bounds(),
        "event_type": start,
        "direction": direction(),
        "levels": one_of("levels", LEVELS, "3"),
        "limit": MOST,
    }
    gap = one_of("gap", GAPS, "")
    return asked_for | ({"gap": gap} if gap else {})


def first_steps(answer: Json) -> list[tuple[str, int, str]]:
    """Returns the first level's event types with their people."""
    level = answer["levels"][0]
    found = [(item["path"][0], item) for item in level["items"]]
    found += [("Other", level["other"])] if level["other"]["count"] else []
    found += [("Nothing", level["ended"])] if level["ended"]["count"] else []
    return [
        (name, each["users"], f"{name}: {plural(each['users'], 'user')}, {percent(each['share'])}")
        for name, each in found
    ]


@routes.get("/paths.csv")
@requires("reports:read")
def csv() -> ResponseReturnValue:
    """The paths as numbers."""
    filters = filters_asked()
    start = event_type("start_at") or next(iter(known_types(filters)), "none")
    answer = analytics().report("paths", params(filters, start))
    rows: list[tuple[Any, ...]] = []
    for level in answer["levels"]:
        rows += [line(level, " > ".join(item["path"]), item) for item in level["items"]]
        rows += [line(level, "(other)", level["other"]), line(level, "(ended)", level["ended"])]
    header = ("level", "path", "users", "count", "share")
    return csv_answer(file_name("paths", filters), header, rows)


def line(level: Json, path: str, each: Json) -> tuple[Any, ...]:
    return (level["level"], path, each["users"], each["count"], each["share"])
