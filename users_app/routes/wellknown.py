"""`/.well-known`: what access tokens are verified with, and which no longer hold."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import UTC, datetime

from flask import Blueprint, Response, jsonify

from chassis.api import api
from chassis.auth import public
from users_app import revocations, schemas
from users_app.models import db
from users_app.parts import parts

routes = Blueprint("keys", __name__)


@routes.get("/.well-known/jwks.json")
@api(answers={200: schemas.PublicKeys}, any_query=True)
@public
def get_jwks() -> Response:
    """Read the public keys that access tokens are checked with, by `kid`."""
    answer = jsonify(parts().keys.jwks())
    answer.headers["Cache-Control"] = "public, max-age=60"
    return answer


@routes.get("/.well-known/revoked")
@api(answers={200: schemas.RevokedSessions}, etag=True, any_query=True)
@public
def list_revoked_sessions() -> Response:
    """Read which sessions' access tokens no longer hold.

    For services that verify tokens by the public keys: ask every second or so. A session is
    listed for ACCESS_TOKEN_MINUTES + 1 minutes; then none of its revoked tokens is left.
    """
    body = parts().revoked.current(version, listing)
    answer = Response(body.data, content_type="application/json")
    answer.set_etag(body.etag, weak=True)
    return answer


def version() -> Hashable:
    """Returns the list's version; who waits for another to make the body holds no connection."""
    try:
        return revocations.version()
    finally:
        db.session.rollback()


def listing() -> bytes:
    listed, others_before = revocations.in_force()
    content = schemas.RevokedSessions(
        issued_before=moment(others_before),
        sessions=[
            schemas.RevokedSession(sid_sha256=each.digest, issued_before=moment(each.issued_before))
            for each in listed
        ],
    )
    return content.model_dump_json().encode()


def moment(second: int | None) -> datetime | None:
    return None if second is None else datetime.fromtimestamp(second, UTC)
