"""Retention: cohorts by their first event, and how many came back since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue

from chassis.auth import requires
from dashboard_app.answers import landing
from dashboard_app.behaviour import asked, event_type, filters_with, shown
from dashboard_app.behaviour_figures import retention_figure
from dashboard_app.charts import bucket_name
from dashboard_app.clients import Json, analytics
from dashboard_app.downloads import csv_answer
from dashboard_app.filters import Filters
from dashboard_app.pages.overview import file_name

routes = Blueprint("retention", __name__)
PERIODS = {"day": "Day", "week": "Week", "month": "Month"}
HEATS = 10


@routes.get("/retention")
@landing
@requires("reports:read")
def page() -> ResponseReturnValue:
    """Shows the triangle, and the average over all cohorts."""
    filters = filters_asked()
    what = asked(lambda: analytics().report("retention", params(filters)))
    if what["answer"]:
        cohorts = what["answer"]["cohorts"]
        means = averages(cohorts)
        unit = PERIODS[period(filters)]
        what |= {"rows": rows(cohorts, filters), "means": means}
        what["figure"] = retention_figure(means, filters.url(), unit)
    own = {"period": period(filters), "periods": list(PERIODS.items()), "back": event_type("back")}
    return shown("retention", filters, **own, **what)


def filters_asked() -> Filters:
    return filters_with(back=event_type("back"))


def period(filters: Filters) -> str:
    """Returns the chosen period, or the one that suits the range."""
    if filters.chosen_interval in PERIODS:
        return str(filters.chosen_interval)
    return "day" if filters.days <= 14 else "week" if filters.days <= 200 else "month"


def params(filters: Filters) -> dict[str, str]:
    back = event_type("back")
    asked_for = {**filters.bounds(), "interval": period(filters)}
    return asked_for | ({"event_type": back} if back else {})


def rows(cohorts: Sequence[Json], filters: Filters) -> list[Json]:
    """Returns each cohort that has people as the table shows it."""
    return [
        {
            "name": bucket_name(each["start"], period(filters), filters.tz),
            "users": each["users"],
            "cells": [{**cell, "heat": heat(cell["share"])} for cell in each["cells"]],
        }
        for each in cohorts
        if each["users"]
    ]


def heat(share: float) -> int:
    """Returns how strong a cell's color is, 0 to 10."""
    return min(HEATS, -(-int(share * 1000) // 100))


def averages(cohorts: Sequence[Json]) -> list[Json]:
    """Returns the share of all people whose period is over who came back in it."""
    found = []
    for number in range(max((len(each["cells"]) for each in cohorts), default=0)):
        cells = [
            (each["users"], each["cells"][number]["users"])
            for each in cohorts
            if len(each["cells"]) > number and each["cells"][number]["complete"]
        ]
        if whole := sum(users for users, _ in cells):
            found.append({"period": number, "share": sum(back for _, back in cells) / whole})
    return found


@routes.get("/retention.csv")
@requires("reports:read")
def csv() -> ResponseReturnValue:
    """The triangle as numbers, a line for each cell."""
    filters = filters_asked()
    answer = analytics().report("retention", params(filters))
    header = ("cohort", "cohort_users", "period", "users", "share", "complete")
    lines: list[tuple[Any, ...]] = [
        (each["start"], each["users"], cell["period"], cell["users"], cell["share"],
         cell["complete"])
        for each in answer["cohorts"]
        for cell in each["cells"]
    ]  # fmt: skip
    return csv_answer(file_name("retention", filters), header, lines)
