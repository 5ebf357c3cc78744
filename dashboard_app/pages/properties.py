"""Properties: what the metadata of an event type holds, and the type by one key's values."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue

from chassis.auth import requires
from dashboard_app.answers import landing
from dashboard_app.behaviour import asked, event_type, filters_with, known_types, shown, text
from dashboard_app.behaviour_figures import ranking_figure
from dashboard_app.clients import Json, analytics
from dashboard_app.downloads import csv_answer
from dashboard_app.filters import Filters
from dashboard_app.formats import plural
from dashboard_app.pages.overview import file_name

routes = Blueprint("properties", __name__)
MOST = "12"


@routes.get("/properties")
@landing
@requires("reports:read")
def page() -> ResponseReturnValue:
    """Shows the keys of an event type, and a chosen one's values."""
    filters = filters_asked()
    kind = event_type("of") or next(iter(known_types(filters)), "")
    what: dict[str, Any] = {"answer": None, "complaint": "", "problem": None, "values": None}
    if kind:
        given = {**filters.bounds(), "event_type": kind}
        what |= asked(lambda: analytics().report("properties", given))
    if what["answer"] and text("key"):
        what |= values(filters, kind)
    own = {"of": kind, "key": text("key"), "measure": text("measure"), "where": text("where")}
    return shown("properties", filters, **own, **what)


def filters_asked() -> Filters:
    own = {name: text(name) for name in ("key", "measure", "where")}
    return filters_with(of=event_type("of"), **own)


def values(filters: Filters, kind: str) -> dict[str, Any]:
    """Returns the breakdown by the chosen key and its chart, or what is wrong with it."""
    found = asked(lambda: analytics().report("breakdown", params(filters, kind)))
    if found["answer"]:
        return {
            "values": found["answer"],
            "figure": ranking_figure(ranked(found["answer"]), filters.url()),
        }
    return {"complaint": found["complaint"], "problem": found["problem"]}


def params(filters: Filters, kind: str) -> dict[str, str]:
    asked_for = {**filters.bounds(), "event_type": kind, "key": text("key"), "limit": MOST}
    if text("measure"):
        asked_for["measure"] = text("measure")
    key, found, value = text("where").partition("=")
    if found and key.strip():
        asked_for[f"metadata.{key.strip()}"] = value.strip()
    return asked_for


def ranked(answer: Json) -> list[tuple[str, int, str]]:
    """Returns the values with their counts; viewers see which rank, not which value."""
    rows = [(name_of(item, n), item) for n, item in enumerate(answer["items"], 1)]
    if answer["other"]["values"]:
        rows.append(("Other", answer["other"]))
    return [
        (name, each["count"], f"{name}: {plural(each['count'], 'event')}") for name, each in rows
    ]


def name_of(item: Json, rank: int) -> str:
    return f"Value {rank}" if item["value"] is None else str(item["value"]) or "(empty)"


@routes.get("/properties.csv")
@requires("reports:read")
def csv() -> ResponseReturnValue:
    """The values of the chosen key as numbers, or without one the keys."""
    filters = filters_asked()
    kind = event_type("of") or next(iter(known_types(filters)), "none")
    if text("key"):
        return values_csv(filters, analytics().report("breakdown", params(filters, kind)))
    answer = analytics().report("properties", {**filters.bounds(), "event_type": kind})
    header = ("event_type", "key", "count", "unique_users", "distinct_values")
    rows = [[item[name] for name in header] for item in answer["items"]]
    return csv_answer(file_name("properties", filters), header, rows)


def values_csv(filters: Filters, answer: Json) -> ResponseReturnValue:
    numbers = ("count", "unique_users", "sum", "average", "median", "p95")
    named = [(name_of(item, n), item) for n, item in enumerate(answer["items"], 1)]
    named += [("(other)", answer["other"]), ("(none)", answer["without"])]
    rows = [[name, *(each[number] for number in numbers)] for name, each in named]
    return csv_answer(file_name("breakdown", filters), (answer["key"], *numbers), rows)
