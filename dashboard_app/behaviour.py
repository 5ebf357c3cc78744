"""What the behaviour pages share: their address, asking, and answering with the report alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from flask import Response, make_response, render_template, request

from chassis.client import Refused
from chassis.errors import Problem, Unavailable
from dashboard_app import reports
from dashboard_app.answers import is_fragment, problem_from, sentence
from dashboard_app.clients import Json
from dashboard_app.filters import EVENT_TYPE, PRESETS, Filters
from dashboard_app.pages.overview import chosen

LONGEST = 200


def text(name: str, usual: str = "") -> str:
    """Returns a parameter of the address, without what no name or value is that long for."""
    return request.args.get(name, "").strip()[:LONGEST] or usual


def event_type(name: str) -> str:
    """Returns the event type a parameter names, or nothing."""
    found = text(name)
    return found if EVENT_TYPE.fullmatch(found) else ""


def one_of(name: str, offered: Mapping[str, str] | list[tuple[str, str]], usual: str) -> str:
    """Returns the parameter if it is one of those offered."""
    return text(name) if text(name) in dict(offered) else usual


def filters_with(**own: str) -> Filters:
    """Returns the range of the address; all its links carry the page's own parameters too."""
    extra = tuple((name, value) for name, value in own.items() if value)
    return replace(chosen(), extra=extra, event_type=None)


def known_types(filters: Filters) -> list[str]:
    """Returns the event types of the last months, the most frequent first."""
    return reports.ranking(filters)


def asked(ask: Callable[[], Json]) -> dict[str, Any]:
    """Returns `answer`, or why there is none: a `complaint` about the form, or a `problem`.

    A condition that this caller may not ask is such a problem; the form stays, to take it off.
    """
    none: dict[str, Any] = {"answer": None, "complaint": "", "problem": None}
    try:
        return {**none, "answer": ask()}
    except Refused as refused:
        if refused.status in (403, 429):
            return {**none, "problem": problem_from(refused)}
        return {**none, "complaint": complaint_of(refused)}
    except Unavailable as problem:
        return {**none, "problem": problem}


def complaint_of(refused: Refused) -> str:
    """Returns what is wrong with the form; other refusals go on as they are."""
    if refused.status == 503:
        raise problem_from(refused)
    if refused.status != 422:
        raise refused
    return " ".join(sentence(f"{name} {said}") for name, said in refused.field_errors.items())


def shown(name: str, filters: Filters, **what: Any) -> Response:
    """Returns the page, or to htmx its report; the address bar follows."""
    template = f"{name}/_report.html" if is_fragment() else f"{name}/page.html"
    page = render_template(
        template, name=name, filters=filters, presets=PRESETS, types=known_types(filters), **what
    )
    problem: Problem | None = what.get("problem")
    answer = make_response(page, problem.status if problem and not is_fragment() else 200)
    if is_fragment():
        answer.headers["HX-Push-Url"] = filters.url(request.path)
        answer.headers["X-Fragment"] = "1"
    return answer
