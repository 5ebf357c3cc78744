"""One's own account: profile, password, sessions, and what is held about one."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from chassis.auth import caller, signed_in
from chassis.client import Refused
from chassis.errors import Problem
from dashboard_app import session
from dashboard_app.answers import errors_of, landing
from dashboard_app.clients import users
from dashboard_app.forms import once
from dashboard_app.pages.overview import chosen

routes = Blueprint("settings", __name__, url_prefix="/settings")

DONE = {
    "profile": "Your profile is saved.",
    "password": "Your password is changed, and your other sessions have ended.",
    "session": "That session has ended.",
}


@routes.get("")
@landing
@signed_in
def page() -> ResponseReturnValue:
    """Shows all forms."""
    return shown()


def shown(
    form: str = "",
    errors: dict[str, str] | None = None,
    values: dict[str, str] | None = None,
    status: int = 200,
) -> ResponseReturnValue:
    """Returns the page; the complaints belong to the form of that name."""
    page = render_template(
        "settings/page.html",
        me=users().me() | (values or {}),
        sessions=users().sessions(),
        errors={form: errors or {}},
        tz=chosen().tz,
        done=DONE.get(request.args.get("done", ""), ""),
    )
    return page, status


def done(what: str) -> ResponseReturnValue:
    return redirect(url_for("settings.page", done=what), 303)


@routes.post("/profile")
@signed_in
def change_profile() -> ResponseReturnValue:
    """Saves what differs of name, username and email; the last two need the password."""
    values = {
        name: request.form.get(name, "").strip() for name in ("full_name", "username", "email")
    }
    me = users().me()
    # What is stored may be older than today's rules: only what changes has to keep them.
    changes: dict[str, Any] = {
        name: value for name, value in values.items() if value != (me[name] or "")
    }
    if changes.get("full_name") == "":
        changes["full_name"] = None
    if password := request.form.get("current_password"):
        changes["current_password"] = password
    try:
        session.change_account(users().change_me(changes))
    except Refused as refused:
        return shown("profile", errors_of(refused), values, refused.status)
    return done("profile")


@routes.post("/password")
@signed_in
def change_password() -> ResponseReturnValue:
    """Sets a new password; the other sessions end."""
    passwords = [request.form.get(name, "") for name in ("current_password", "new_password")]
    try:
        once(lambda: users().change_password(*passwords))
    except Refused as refused:
        return shown("password", errors_of(refused), status=refused.status)
    return done("password")


@routes.post("/sessions/<id:session_id>/end")
@signed_in
def end_session(session_id: int) -> ResponseReturnValue:
    """Signs one of one's sessions out."""
    once(lambda: users().end_session(str(session_id)))
    return done("session")


@routes.post("/sessions/end")
@signed_in
def end_all_sessions() -> ResponseReturnValue:
    """Signs out everywhere, here too."""
    users().logout(everywhere=True)
    session.sign_out()
    return redirect(url_for("sign_in.page", notice="signed_out"), 303)


@routes.get("/export")
@signed_in
def export() -> ResponseReturnValue:
    """Streams all that is held about one, as one JSON file."""
    answer = users().export()
    name = f"footfall-account-{caller().user_id}.json"
    return Response(
        answer.iter_content(64 * 1024),
        content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@routes.post("/delete")
@signed_in
def delete() -> ResponseReturnValue:
    """Deletes one's account and events, after the password."""
    try:
        users().delete_me(request.form.get("current_password", ""))
    except Refused as refused:
        return shown("delete", errors_of(refused), status=refused.status)
    except Problem as problem:
        return shown("delete", {"form": problem.detail}, status=problem.status)
    session.sign_out()
    return redirect(url_for("sign_in.page", notice="deleted"), 303)
