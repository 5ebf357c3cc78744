"""`/password-reset`."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from chassis.api import api
from chassis.auth import public
from users_app import resets, schemas
from users_app.origin import origin

routes = Blueprint("password_resets", __name__, url_prefix="/password-reset")
SENTENCE = "If there is an account with this address, a mail with a link is on its way to it."


@routes.post("")
@api(body=schemas.ResetRequest, answers={202: schemas.ResetAnswer})
@public
def request_password_reset(body: schemas.ResetRequest) -> tuple[schemas.ResetAnswer, int]:
    """Ask for a mail with a link to set a new password.

    The answer, and the work behind it, is the same whether or not the account exists.
    """
    resets.request(body.email)
    return schemas.ResetAnswer(message=SENTENCE), 202


@routes.post("/confirm")
@api(
    body=schemas.ResetConfirmation,
    answers={204: None},
)
@public
def confirm_password_reset(body: schemas.ResetConfirmation) -> ResponseReturnValue:
    """Set a new password with the code of the mail; all sessions end."""
    resets.confirm(body.token, body.new_password, origin())
    return "", 204
