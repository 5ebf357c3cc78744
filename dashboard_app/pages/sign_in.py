"""Signing in and out."""

from __future__ import annotations

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from chassis.auth import optional_caller, public, signed_in
from chassis.client import Refused
from chassis.errors import Unavailable
from dashboard_app import session
from dashboard_app.answers import safe_next
from dashboard_app.clients import users

routes = Blueprint("sign_in", __name__)

NOTICES = {
    "expired": "Your session has ended. Sign in to go on where you were.",
    "signed_out": "You are signed out.",
    "deleted": "Your account is deleted, with everything that was held about you.",
    "reset": "Your password is changed. Sign in with the new one.",
}


@routes.get("/login")
@public
def page() -> ResponseReturnValue:
    """Shows the form; one who is signed in goes on to the page that was wanted."""
    if optional_caller():
        return redirect(after_sign_in())
    return form(notice=NOTICES.get(request.args.get("notice", ""), ""))


@routes.post("/login")
@public
def sign_in() -> ResponseReturnValue:
    """Signs in with a username or an email, and begins a session under a new id."""
    username = request.form.get("username", "").strip()
    password = request.form.get("password", "")
    if not username or not password:
        return form(username=username, error="Enter your username and your password.", status=422)
    try:
        answer = users().login(username, password)
    except Refused as refused:
        return form(username=username, error=why(refused), status=refused.status)
    except Unavailable as down:
        return form(username=username, error=down.detail, status=503)
    session.sign_in(answer, answer["user"])
    return redirect(after_sign_in(), 303)


def form(
    *, username: str = "", error: str = "", notice: str = "", status: int = 200
) -> ResponseReturnValue:
    shown = {"username": username, "error": error, "notice_text": notice, "next": wanted()}
    # A 401 asks browsers for HTTP credentials; a form that was not right is no such thing.
    return render_template("sign_in/page.html", **shown), 422 if status == 401 else status


def why(refused: Refused) -> str:
    if refused.status in (401, 422):
        return "That username and password don't match."
    return str(refused)


def wanted() -> str:
    return request.values.get("next", "")


def after_sign_in() -> str:
    return safe_next(wanted()) or url_for("overview.page")


@routes.post("/logout")
@signed_in
def sign_out() -> ResponseReturnValue:
    """Ends the session here and at the users service, which may be down meanwhile."""
    session.end()
    return make_response(redirect(url_for("sign_in.page", notice="signed_out"), 303))
