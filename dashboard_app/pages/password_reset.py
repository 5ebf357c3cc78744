"""A forgotten password: asking for the mail, and setting a new one by its link."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from chassis.auth import public
from chassis.client import Refused
from chassis.errors import Unavailable
from dashboard_app.answers import errors_of
from dashboard_app.clients import users
from dashboard_app.forms import once

routes = Blueprint("password_reset", __name__, url_prefix="/password-reset")


@routes.get("")
@public
def page() -> ResponseReturnValue:
    """Shows the form."""
    return render_template("password_reset/page.html", email="", errors={}, sent=False)


@routes.post("")
@public
def ask() -> ResponseReturnValue:
    """Asks for the mail; the answer is the same whether or not there is an account."""
    email = request.form.get("email", "").strip()
    status, errors = 200, dict[str, str]()
    try:
        once(lambda: users().request_reset(email))
    except Refused as refused:
        status, errors = refused.status, errors_of(refused)
    except Unavailable as down:
        status, errors = 503, {"form": down.detail}
    shown = {"email": email, "errors": errors, "sent": not errors}
    return render_template("password_reset/page.html", **shown), status


@routes.get("/confirm")
@public
def choose() -> ResponseReturnValue:
    """Shows the form that the mail's link leads to."""
    token = request.args.get("token", "")
    return render_template("password_reset/confirm.html", token=token, errors={})


@routes.post("/confirm")
@public
def confirm() -> ResponseReturnValue:
    """Sets the new password; all sessions end."""
    token = request.form.get("token", "")
    try:
        once(lambda: users().confirm_reset(token, request.form.get("new_password", "")))
    except Refused as refused:
        errors, status = errors_of(refused), refused.status
    except Unavailable as down:
        errors, status = {"form": down.detail}, 503
    else:
        return redirect(url_for("sign_in.page", notice="reset"), 303)
    return render_template("password_reset/confirm.html", token=token, errors=errors), status
