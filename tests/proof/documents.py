"""Both services' documents, made in process: neither a server nor a database is asked."""

from __future__ import annotations

import secrets
from typing import Any

from flask import Flask

import analytics_app
import users_app
from analytics_app.config import AnalyticsSettings
from tests.stack import private_key
from users_app.config import UsersSettings

NAMES = ("users", "analytics")


def service(name: str) -> Flask:
    """Returns the users or the analytics service."""
    secret = secrets.token_hex(32)
    given = {f"{name}_database_url": "sqlite://", "secret_key": secret, "log_level": "ERROR"}
    if name == "users":
        given |= {"jwt_private_key": private_key(), "public_url": "https://footfall.test"}
        return users_app.create_app(UsersSettings.model_validate(given))
    return analytics_app.create_app(AnalyticsSettings.model_validate(given))


def document(app: Flask) -> dict[str, Any]:
    """Returns the document that the service answers."""
    found: dict[str, Any] = app.test_client().get("/openapi.json").get_json()
    return found
