"""Access and service tokens: ES256, signed with a key object that is loaded once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Flask
from flask_jwt_extended import JWTManager, create_access_token

from users_app.models import User
from users_app.parts import parts

AUDIENCE = ["users", "analytics"]
SERVICE_TOKEN_LIFE = timedelta(minutes=5)
SERVICE_SCOPE = "events:write events:erase"
SCOPES = {
    "viewer": "reports:read",
    "analyst": "reports:read events:read",
    "admin": "reports:read events:read events:write events:erase keys:manage accounts:manage",
}


def install(app: Flask) -> None:
    """Tells the token library which key signs; call it after `assemble`."""
    manager: JWTManager = app.extensions["flask-jwt-extended"]
    app.config.update(
        JWT_ENCODE_NBF=False, JWT_ENCODE_AUDIENCE=AUDIENCE, JWT_COOKIE_CSRF_PROTECT=False
    )
    app.config["JWT_ENCODE_ISSUER"] = app.extensions["users"].settings.jwt_issuer

    @manager.encode_key_loader
    def private_key(_identity: str) -> Any:
        return parts().keys.signing.private


def access_token(account: User, session_id: int, issued_at: int) -> str:
    """Returns a token that names the account, its role and the session."""
    claims = {
        "sid": str(session_id),
        "role": account.role,
        "scope": SCOPES[account.role],
        # Not the moment of signing: by then the role may be another.
        "iat": issued_at,
        "exp": issued_at + int(access_token_life().total_seconds()),
    }
    token: str = create_access_token(
        str(account.id),
        additional_claims=claims,
        additional_headers={"kid": parts().keys.signing.kid},
    )
    return token


def access_token_life() -> timedelta:
    """How long an access token holds."""
    return timedelta(minutes=parts().settings.access_token_minutes)


def service_token() -> str:
    """Returns the token with which this service calls analytics."""
    claims = {"type": "service", "scope": SERVICE_SCOPE, "aud": ["analytics"]}
    token: str = create_access_token(
        "users",
        expires_delta=SERVICE_TOKEN_LIFE,
        additional_claims=claims,
        additional_headers={"kid": parts().keys.signing.kid},
    )
    return token
