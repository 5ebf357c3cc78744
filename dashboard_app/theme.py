"""Light, dark, or as the system has it: a cookie that the server reads, so nothing flashes."""

from __future__ import annotations

import json

from flask import Flask, Response, current_app, make_response, redirect, request

from chassis.auth import public
from dashboard_app import session
from dashboard_app.answers import is_fragment, local_part

THEMES = ("light", "dark")
YEAR = 365 * 24 * 3600


def install(app: Flask) -> None:
    """Registers the switch, and tells every template the theme and who is signed in."""
    app.add_url_rule("/theme", view_func=choose, methods=["POST"])
    app.context_processor(lambda: {"theme": chosen(), "account": session.account()})


def chosen() -> str:
    """Returns `light` or `dark`, or "" to follow the system."""
    return known(request.cookies.get("theme", ""))


def known(theme: str) -> str:
    return theme if theme in THEMES else ""


@public
def choose() -> Response:
    """Keeps the theme in a cookie; anything but a theme goes back to the system's."""
    theme = known(request.form.get("theme", ""))
    if is_fragment():
        answer = Response(status=204, headers={"HX-Trigger": json.dumps({"theme": theme})})
    else:
        answer = make_response(redirect(local_part(request.headers.get("Referer", "")) or "/", 303))
    if theme:
        secure = current_app.config["SESSION_COOKIE_SECURE"]
        answer.set_cookie("theme", theme, YEAR, secure=secure, httponly=True, samesite="Lax")
    else:
        answer.delete_cookie("theme")
    return answer
