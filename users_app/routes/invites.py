"""`/invites`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue

from chassis.api import api
from chassis.auth import requires
from users_app import invites, schemas
from users_app.origin import origin
from users_app.routes.shapes import plain

routes = Blueprint("invites", __name__, url_prefix="/invites")
MANAGE = "accounts:manage"


@routes.post("")
@api(body=schemas.InviteRequest, body_optional=True, answers={201: schemas.NewInvite})
@requires(MANAGE)
def create_invite(body: schemas.InviteRequest) -> tuple[schemas.NewInvite, int]:
    """Invite somebody to register, once; the code is shown this once."""
    made, code = invites.invite(body.email, body.role, body.expires_in_days, origin())
    return schemas.NewInvite.of(made, code, invites.link(code)), 201


@routes.get("")
@api(query=schemas.InviteQuery, answers={200: schemas.InvitePage})
@requires(MANAGE)
def list_invites(query: schemas.InviteQuery) -> dict[str, Any]:
    """List invites, newest first; used and expired ones too."""
    return query.page(invites.invites(query), plain(schemas.InviteAnswer.model_validate))


@routes.delete("/<id:invite_id>")
@api(answers={204: None})
@requires(MANAGE)
def withdraw_invite(invite_id: int) -> ResponseReturnValue:
    """Withdraw an invite: its code is dead at once."""
    invites.withdraw(invite_id, origin())
    return "", 204
