"""`/login`, `/token`, `/logout`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app, jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from chassis import database, limits
from chassis.api import api
from chassis.auth import public, signed_in
from chassis.database import transaction
from chassis.errors import Problem, Unauthenticated
from users_app import audit, outbox, schemas, sessions, tokens
from users_app.models import db
from users_app.origin import origin
from users_app.routes.accounts import shown
from users_app.routes.me import my_id, my_session
from users_app.sign_in import sign_in

routes = Blueprint("sessions", __name__)
token_routes = Blueprint("tokens", __name__)


@routes.post("/login")
@api(
    body=schemas.SignIn,
    answers={200: schemas.SignInAnswer},
    errors=(Unauthenticated,),
)
@public
def login(body: schemas.SignIn) -> schemas.SignInAnswer:
    """Sign in by username or email, and password."""
    grant = sign_in(body.username, body.password, origin())
    return schemas.SignInAnswer(**token_answer(grant), user=shown(grant.account))


@routes.post("/logout")
@api(body=schemas.SignOut, body_optional=True, answers={204: None})
@signed_in
def logout(body: schemas.SignOut) -> ResponseReturnValue:
    """Sign out: this session ends, or everywhere."""
    with transaction(db.session):
        if body.everywhere:
            sessions.end_sessions(my_id())
        else:
            sessions.end_session(my_id(), my_session())
        outbox.put_event("user_logged_out", my_id(), everywhere=body.everywhere)
        audit.record("signed_out", my_id(), origin(), everywhere=body.everywhere)
    return "", 204


@token_routes.post("/token")
@api(
    form=schemas.TokenForm,
    answers={200: schemas.TokenAnswer},
    error_model=schemas.TokenRefusal,
    any_query=True,
)
@public
def issue_tokens(form: schemas.TokenForm) -> Response:
    """Get tokens by password or by refresh token (RFC 6749).

    Errors have the form of RFC 6749 too: `error` and `error_description`.
    """
    grants = {"password": by_password, "refresh_token": by_refresh_token}
    if not form.grant_type:
        raise OAuthError("invalid_request", "grant_type is required.")
    if form.grant_type not in grants:
        raise OAuthError("unsupported_grant_type", "Use password or refresh_token.")
    answer = jsonify(token_answer(grants[form.grant_type](form)))
    answer.headers["Pragma"] = "no-cache"
    return answer


def by_password(form: schemas.TokenForm) -> sessions.Grant:
    if not (form.username and form.password):
        raise OAuthError("invalid_request", "username and password are required.")
    try:
        return sign_in(form.username, form.password, origin())
    except Unauthenticated as refusal:
        raise OAuthError("invalid_grant", refusal.detail) from None


def by_refresh_token(form: schemas.TokenForm) -> sessions.Grant:
    if not form.refresh_token:
        raise OAuthError("invalid_request", "refresh_token is required.")
    try:
        return sessions.refresh(form.refresh_token, origin())
    except sessions.InvalidGrant:
        detail = "The refresh token is unknown, expired, used or ended: sign in again."
        raise OAuthError("invalid_grant", detail) from None


def token_answer(grant: sessions.Grant) -> dict[str, Any]:
    return {
        "access_token": tokens.access_token(grant.account, grant.session_id, grant.issued_at),
        "token_type": "bearer",
        "expires_in": int(tokens.access_token_life().total_seconds()),
        "refresh_token": grant.refresh_token,
        "scope": tokens.SCOPES[grant.account.role],
    }


class OAuthError(Exception):
    """An error of RFC 6749, section 5.2."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status


@token_routes.errorhandler(OAuthError)
def oauth_error(error: OAuthError) -> ResponseReturnValue:
    body = {"error": error.error, "error_description": error.description}
    return jsonify(body), error.status, {"Pragma": "no-cache"}


@token_routes.errorhandler(Problem)
def problem_as_oauth_error(problem: Problem) -> ResponseReturnValue:
    """Says what any route may run into (limits, a busy service, bad names) in RFC 6749's form."""
    status = 400 if problem.status == 422 else problem.status
    description = "; ".join(f"{e.field} {e.message}" for e in problem.errors) or problem.detail
    body = {"error": error_code(status), "error_description": description}
    return jsonify(body), status, problem.headers


@token_routes.errorhandler(HTTPException)
def http_error_as_oauth_error(error: HTTPException) -> ResponseReturnValue:
    status = error.code or 500
    kept = [pair for pair in error.get_headers() if pair[0] == "Retry-After"]
    body = {"error": error_code(status), "error_description": error.name}
    return jsonify(body), status, kept


@token_routes.errorhandler(429)
def limit_as_oauth_error(_limit: HTTPException) -> ResponseReturnValue:
    return problem_as_oauth_error(limits.exceeded(current_app.extensions["limits"]))


@token_routes.errorhandler(OperationalError)
@token_routes.errorhandler(InterfaceError)
@token_routes.errorhandler(PoolTimeout)
def database_as_oauth_error(error: Exception) -> ResponseReturnValue:
    return problem_as_oauth_error(database.unavailable(error))


def error_code(status: int) -> str:
    if status == 429 or status >= 500:
        return "temporarily_unavailable"
    return "invalid_request"
