"""`/.well-known/jwks.json`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify

from chassis.api import api
from chassis.auth import public
from users_app.parts import parts

routes = Blueprint("keys", __name__)


@routes.get("/.well-known/jwks.json")
@api(answers={200: dict[str, Any]})
@public
def jwks() -> Response:
    """Read the public keys that access tokens are checked with, by `kid`."""
    answer = jsonify(parts().keys.jwks())
    answer.headers["Cache-Control"] = "public, max-age=60"
    return answer
