"""How pages answer: a page or its fragment, a problem in the right frame, the way to sign in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from flask import (
    Flask,
    Response,
    current_app,
    g,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from flask.globals import request_ctx
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from chassis.client import Refused
from chassis.errors import FieldError, Problem
from chassis.problems import answer_to
from dashboard_app import session

View = TypeVar("View", bound=Callable[..., Any])


def install(app: Flask) -> None:
    """Shows every problem as a page, or in its card when htmx asked."""
    app.extensions["problem_page"] = problem_page
    app.register_error_handler(Refused, lambda refused: answer_to(problem_from(refused)))


def landing(view: View) -> View:
    """Marks a page that one may be sent to after signing in."""
    view.is_landing = True  # type: ignore[attr-defined]
    return view


def is_fragment() -> bool:
    """Whether htmx asks for a part of a page."""
    return request.headers.get("HX-Request") == "true"


def problem_from(refused: Refused) -> Problem:
    """Returns a service's refusal as a problem of our own."""
    document = refused.problem
    errors = [
        FieldError(str(each.get("field")), str(each.get("message")))
        for each in document.get("errors", [])
    ]
    problem = Problem(str(document.get("detail") or ""), errors=errors)
    problem.status = refused.status
    problem.title = str(document.get("title") or problem.title)
    if retry_after := refused.headers.get("Retry-After"):
        problem.headers["Retry-After"] = retry_after
    return problem


def problem_page(problem: Problem) -> Response:
    """Returns the problem in a card, on a page, or as the way to sign in again."""
    if problem.status == 401:
        with suppress(Problem):
            session.sign_out()
        return to_sign_in()
    if request_ctx.url_adapter is None:  # a Host that can't be read: no page can link anywhere
        return Response(problem.title, problem.status, content_type="text/plain")
    recognize()
    template = "_problem.html" if is_fragment() else "error.html"
    answer = make_response(render_template(template, problem=problem), problem.status)
    answer.headers["X-Fragment"] = "1"
    return answer


def recognize() -> None:
    """Names the caller at an address that no page has, so that the frame can be shown."""
    if "caller" not in g and "refusal" not in g:
        with suppress(Problem):
            g.caller = session.authenticate()


def to_sign_in() -> Response:
    """Sends a stranger, or one whose session has ended, to sign in and then back."""
    cookie = current_app.config["SESSION_COOKIE_NAME"]
    notice = "expired" if cookie in request.cookies else None
    address = url_for("sign_in.page", next=wanted_page() or None, notice=notice)
    if is_fragment():
        return Response(status=401, headers={"HX-Redirect": address})
    return make_response(redirect(address))


def wanted_page() -> str:
    """Returns the page to come back to: this one, or the one a fragment or form is part of."""
    if is_fragment():
        return local_part(request.headers.get("HX-Current-URL", ""))
    if request.method in ("GET", "HEAD"):
        return safe_next(request.full_path.rstrip("?")) or ""
    return local_part(request.headers.get("Referer", ""))


def local_part(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    if parts.netloc != request.host:
        return ""
    return safe_next(parts.path + (f"?{parts.query}" if parts.query else "")) or ""


def safe_next(target: str) -> str | None:
    """Returns the address rebuilt from one of our own pages, or None for anything else."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return None
    if parts.scheme or parts.netloc or not parts.path.startswith("/"):
        return None
    try:
        endpoint, values = current_app.url_map.bind("localhost").match(parts.path, method="GET")
    except (HTTPException, RequestRedirect):
        return None
    if not getattr(current_app.view_functions[endpoint], "is_landing", False):
        return None
    query = urlencode(parse_qsl(parts.query))
    return url_for(endpoint, **values) + (f"?{query}" if query else "")


def errors_of(refused: Refused) -> dict[str, str]:
    """Returns the complaints of a 409 or 422 by field; other refusals go on as they are."""
    if refused.status in (409, 422) and refused.field_errors:
        return {name: sentence(text) for name, text in refused.field_errors.items()}
    if refused.status in (400, 403, 409, 422, 429):
        return {"form": str(refused)}
    raise refused


def sentence(text: str) -> str:
    """Returns a service's complaint with a capital and a full stop."""
    return text[:1].upper() + text[1:].rstrip(".") + "."
