"""`/users/me`: one's own account, password and sessions."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request, send_file
from flask.typing import ResponseReturnValue

from chassis.api import api
from chassis.auth import Caller, caller, signed_in
from chassis.bearer import bearer_credential
from chassis.database import transaction
from chassis.errors import Conflict, NotFound
from chassis.hang_up import hung_up
from users_app import audit, schemas, sessions
from users_app.accounts import change, find
from users_app.export import export
from users_app.models import Session, db
from users_app.origin import origin
from users_app.routes.accounts import changed, shown
from users_app.routes.shapes import plain

routes = Blueprint("me", __name__, url_prefix="/users/me")


def my_id() -> int:
    """Returns the id of the account that calls."""
    who: Caller = caller()
    assert who.user_id is not None, "only users pass @signed_in"
    return who.user_id


def my_session() -> int:
    """Returns the id of the session that calls."""
    return int(caller().session_id or 0)


@routes.get("")
@api(answers={200: schemas.Account})
@signed_in
def get_me() -> schemas.Account:
    """Read one's own account."""
    return shown(find.account(my_id()))


@routes.patch("")
@api(body=schemas.ProfileChange, answers={200: schemas.Account}, errors=(Conflict,))
@signed_in
def change_me(body: schemas.ProfileChange) -> schemas.Account:
    """Change one's own profile; a change of email or username needs `current_password`."""
    return changed(my_id(), body)


@routes.delete("")
@api(body=schemas.Deletion, answers={204: None}, errors=(Conflict,))
@signed_in
def delete_me(body: schemas.Deletion) -> ResponseReturnValue:
    """Delete one's own account, and have its events erased in analytics."""
    change.require_password(my_id(), body.current_password, origin())
    change.delete_account(my_id(), origin())
    return "", 204


@routes.put("/password")
@api(body=schemas.PasswordChange, answers={204: None})
@signed_in
def change_password(body: schemas.PasswordChange) -> ResponseReturnValue:
    """Change one's own password; the other sessions end."""
    change.change_password(
        my_id(), body.current_password, body.new_password, origin(), session_id=my_session()
    )
    return "", 204


@routes.get("/export")
@api(answers={200: schemas.AccountExport})
@signed_in
def export_me() -> Response:
    """Download all that is held about oneself, events included.

    One export of an account and two of all run at a time in each worker; one more is a 429 or
    a 503 with Retry-After. 503 too while analytics can't be asked.
    """
    token = bearer_credential(request.headers.get("Authorization")) or ""
    document = export(my_id(), token, hung_up(request.environ))
    answer = send_file(
        document,
        mimetype="application/json",
        as_attachment=True,
        download_name=f"footfall-account-{my_id()}.json",
    )
    answer.call_on_close(document.close)  # compressed it is no longer the answer's own file
    answer.headers["Cache-Control"] = "no-store"
    return answer


@routes.get("/sessions")
@api(query=schemas.SessionQuery, answers={200: schemas.SessionPage})
@signed_in
def list_my_sessions(query: schemas.SessionQuery) -> dict[str, Any]:
    """List where one is signed in, the latest sign-in first."""
    return query.page(sessions.page_of(my_id(), query), plain(shown_session))


@routes.delete("/sessions/<id:session_id>")
@api(answers={204: None})
@signed_in
def end_my_session(session_id: int) -> ResponseReturnValue:
    """Sign one of one's own sessions out."""
    with transaction(db.session):
        if not sessions.end_session(my_id(), session_id):
            raise NotFound("There is no such session.")
        audit.record("session_ended", my_id(), origin(), session_id=session_id)
    return "", 204


def shown_session(session: Session) -> schemas.SessionAnswer:
    return schemas.SessionAnswer(
        id=session.id,
        address=session.address,
        user_agent=session.user_agent,
        created_at=session.created_at,
        last_used_at=session.last_used_at,
        expires_at=session.expires_at,
        current=session.id == my_session(),
    )
