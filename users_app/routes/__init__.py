"""The HTTP face: each route parses, calls one use case, shapes its answer."""

from __future__ import annotations

from flask import Flask

from users_app.routes import accounts, audit, invites, me, resets, sign_in, wellknown


def install(app: Flask) -> None:
    """Registers all routes of the service."""
    for module in (accounts, me, sign_in, invites, resets, audit, wellknown):
        app.register_blueprint(module.routes)
    app.register_blueprint(sign_in.token_routes)
