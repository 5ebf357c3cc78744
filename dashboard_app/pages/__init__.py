"""The pages, a module each; every one is a blueprint of that name."""

from __future__ import annotations

from flask import Flask

from dashboard_app.pages import events, overview, register, sign_in

PAGES = (sign_in, register, overview, events)


def install(app: Flask) -> None:
    """Registers every page."""
    for page in PAGES:
        app.register_blueprint(page.routes)
