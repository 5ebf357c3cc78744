"""One place where an error becomes an HTTP answer."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, request
from gunicorn.http.errors import NoMoreData, ParseException
from werkzeug.exceptions import HTTPException

from chassis.errors import BadRequest, Problem
from chassis.telemetry import get_logger

log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"


def install(app: Flask) -> None:
    """Answers every error as problem+json, or as the app's own `problem_page` makes it."""
    app.register_error_handler(Problem, answer_to)
    app.register_error_handler(HTTPException, answer_to_http)
    # The server reads a chunked body only as the view does, and may find it broken then.
    for broken in (ParseException, NoMoreData):
        app.register_error_handler(broken, lambda _: answer_to(BadRequest(UNREADABLE)))
    app.register_error_handler(Exception, answer_to_bug)


def answer_to(problem: Problem) -> Response:
    """Returns the response for a problem, in the shape this app speaks."""
    from flask import current_app

    render = current_app.extensions.get("problem_page", problem_json)
    answer: Response = render(problem)
    answer.headers.update(problem.headers)
    return answer


def problem_json(problem: Problem) -> Response:
    """Returns the problem as RFC 9457 has it, with the request id."""
    return Response(
        json.dumps(problem_body(problem, g.get("request_id"))),
        status=problem.status,
        content_type=MEDIA_TYPE,
    )


def problem_body(problem: Problem, request_id: str | None) -> dict[str, Any]:
    """Returns the members of the problem's JSON object."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail or problem.title,
        "request_id": request_id,
    }
    if problem.errors:
        body["errors"] = [{"field": e.field, "message": e.message} for e in problem.errors]
    return body


UNREADABLE = "The request could not be read."
DETAILS = {
    400: UNREADABLE,
    404: "There is nothing at this address.",
    405: "This address does not take that method.",
    413: "The body is over the limit.",
    414: "The address is too long.",
    429: "Too many requests: wait a moment.",
}


def answer_to_http(error: HTTPException) -> Response:
    """Returns Werkzeug's and the limiter's errors in our shape, with their headers."""
    problem = Problem(DETAILS.get(error.code or 500, error.description or ""))
    problem.status = error.code or 500
    problem.title = HTTPStatus(problem.status).phrase
    kept = ("Allow", "Retry-After", "Location")
    if error.response is not None and error.code in (301, 302, 307, 308):
        return error.response  # type: ignore[return-value]
    for name, value in error.get_headers(request.environ):
        if name in kept:
            problem.headers[name] = value
    return answer_to(problem)


def answer_to_bug(error: Exception) -> Response:
    """Logs what no handler knows and answers 500 without a word of its insides."""
    log.error("unhandled error", exc_info=error)
    return answer_to(Problem("Something went wrong here; the request id finds it in the log."))
