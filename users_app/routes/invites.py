"""`/invites`."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from chassis.api import api
from chassis.auth import requires
from chassis.pagination import PageQuery, decode_cursor
from users_app import invites, schemas
from users_app.origin import origin
from users_app.routes.shapes import page

routes = Blueprint("invites", __name__, url_prefix="/invites")
MANAGE = "accounts:manage"


@routes.post("")
@api(body=schemas.InviteRequest, body_optional=True, answers={201: schemas.NewInvite})
@requires(MANAGE)
def invite(body: schemas.InviteRequest) -> tuple[schemas.NewInvite, int]:
    """Invite somebody to register, once; the code is shown this once."""
    made, code = invites.invite(body.email, body.role, body.expires_in_days, origin())
    return schemas.NewInvite.of(made, code, invites.link(code)), 201


@routes.get("")
@api(query=PageQuery, answers={200: schemas.Page})
@requires(MANAGE)
def all_invites(query: PageQuery) -> schemas.Page:
    """List invites, newest first; used and expired ones too."""
    before = decode_cursor(query.cursor, int)[0] if query.cursor else None
    found = invites.invites_before(before, query.limit + 1)
    return page(found, query, schemas.InviteAnswer.model_validate)


@routes.delete("/<id:invite_id>")
@api(answers={204: None})
@requires(MANAGE)
def withdraw(invite_id: int) -> ResponseReturnValue:
    """Withdraw an invite: its code is dead at once."""
    invites.withdraw(invite_id, origin())
    return "", 204
