"""Making an account."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from chassis.auth import optional_caller, public
from chassis.client import Refused
from chassis.errors import Unavailable
from dashboard_app import forms, session
from dashboard_app.answers import errors_of
from dashboard_app.clients import users

routes = Blueprint("register", __name__)

FIELDS = ("email", "username", "password", "full_name", "invite")
REQUIRED = {
    "email": "Enter your email address.",
    "username": "Choose a username.",
    "password": "Choose a password.",
}


@routes.get("/register")
@public
def page() -> ResponseReturnValue:
    """Shows the form; `?invite=` fills the code in."""
    if optional_caller():
        return redirect(url_for("overview.page"))
    return form({"invite": request.args.get("invite", "")}, {})


@routes.post("/register")
@public
def register() -> ResponseReturnValue:
    """Makes the account and signs in with it; complaints stand beside their fields."""
    given = {name: request.form.get(name, "") for name in FIELDS}
    values = {name: text if name == "password" else text.strip() for name, text in given.items()}
    missing = {name: text for name, text in REQUIRED.items() if not values[name]}
    if missing:
        return form(values, missing, 422)
    account = {name: text for name, text in values.items() if text}
    try:
        forms.once(lambda: users().register(account, forms.sent_id()))
        # What is left may fail: the same form, shown again for it, must be the same one.
        forms.keep_id()
        with forms.in_turn():
            answer = users().login(values["username"], values["password"])
    except Refused as refused:
        return form(values, errors_of(refused), refused.status)
    except Unavailable as down:
        return form(values, {"form": down.detail}, 503)
    session.sign_in(answer, answer["user"])
    return redirect(url_for("overview.page"), 303)


def form(values: dict[str, Any], errors: dict[str, str], status: int = 200) -> ResponseReturnValue:
    values = values | {"password": ""}
    return render_template("register/page.html", values=values, errors=errors), status
