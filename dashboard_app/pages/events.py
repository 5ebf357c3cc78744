"""The explorer: every event, newest first, by type, user, metadata and range."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from flask import (
    Blueprint,
    Response,
    make_response,
    redirect,
    render_template,
    request,
    stream_with_context,
    url_for,
)
from flask.typing import ResponseReturnValue

from chassis.auth import requires
from chassis.client import Refused
from dashboard_app import explorer, reports
from dashboard_app.answers import is_fragment, landing, sentence
from dashboard_app.clients import Json, analytics
from dashboard_app.downloads import csv_text
from dashboard_app.filters import PRESETS
from dashboard_app.pages.overview import chosen, file_name

routes = Blueprint("events", __name__)
PAGE = 25
FORMATS = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}


@routes.get("/events")
@landing
@requires("events:read")
def page() -> ResponseReturnValue:
    """Shows one page of what was searched for; to htmx the explorer without the frame."""
    search = explorer.read(request.args, chosen())
    address = url_for("events.page") + search.link(**cursor())
    if "key" in request.args and not is_fragment():
        return redirect(address)
    template = "events/_explorer.html" if is_fragment() else "events/page.html"
    answer = make_response(render_template(template, **found(search), presets=PRESETS))
    if is_fragment():
        answer.headers["HX-Push-Url"] = address
    return answer


def cursor() -> dict[str, str]:
    given = request.args.get("cursor")
    return {"cursor": given} if given else {}


def found(search: explorer.Search) -> dict[str, Any]:
    """Returns one page of events with what the page shows around them."""
    ranking = reports.ranking(search.filters)
    shown = {
        "search": search,
        "filters": search.filters,
        "types": sorted(ranking),
        "colors": reports.lasting_colors(ranking),
        "is_first": not cursor(),
        "complaint": "",
    }
    params = [*search.params(), ("limit", str(PAGE)), *cursor().items()]
    try:
        answer = analytics().events(params)
    except Refused as refused:
        complaint = complaint_of(refused)
        return {**shown, "items": [], "next_cursor": None, "complaint": complaint}
    return {**shown, "items": answer["items"], "next_cursor": answer["next_cursor"]}


def complaint_of(refused: Refused) -> str:
    """Returns what is wrong with the search; refusals of another kind go on as they are."""
    if refused.status != 422:
        raise refused
    return " ".join(sentence(f"{name} {text}") for name, text in refused.field_errors.items())


@routes.get("/events/export.<kind>")
@requires("events:read")
def export(kind: str) -> ResponseReturnValue:
    """Streams everything that was searched for, as CSV or NDJSON."""
    if kind not in FORMATS:
        return redirect(url_for("events.page"))
    search = explorer.read(request.args, chosen())
    name = file_name("events", search.filters)
    return Response(
        stream_with_context(
            matching(search, kind) if search.metadata else everything(search, kind)
        ),
        content_type=FORMATS[kind],
        headers={"Content-Disposition": f'attachment; filename="{name}.{kind}"'},
    )


def everything(search: explorer.Search, kind: str) -> Iterator[bytes]:
    """Returns the service's own export, as it comes."""
    answer = analytics().export([*search.params(), ("format", kind)])
    chunks: Iterator[bytes] = answer.iter_content(64 * 1024)
    return chunks


def matching(search: explorer.Search, kind: str) -> Iterator[str]:
    """Returns the events with the metadata that was asked for, page after page."""
    pages = analytics().all_events([*search.params(), ("limit", "500")])
    first = next(pages)  # now, while the answer can still say what is wrong
    write = csv_lines if kind == "csv" else ndjson_lines
    return write(event for page in chain([first], pages) for event in page)


def csv_lines(events: Iterable[Json]) -> Iterator[str]:
    yield csv_text([explorer.COLUMNS])
    for event in events:
        metadata = json.dumps(event["metadata"], ensure_ascii=False)
        yield csv_text([[*(event[name] for name in explorer.COLUMNS[:-1]), metadata]])


def ndjson_lines(events: Iterable[Json]) -> Iterator[str]:
    for event in events:
        yield (
            json.dumps({name: event[name] for name in explorer.COLUMNS}, ensure_ascii=False) + "\n"
        )
