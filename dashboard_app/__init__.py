"""pages -> forms, session -> clients -> charts -> ../templates

The browser's side of Footfall: server-rendered pages, htmx fragments, and no token in sight.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from flask import Flask

import chassis
from chassis.config import load
from dashboard_app import (
    answers,
    assets,
    clients,
    formats,
    forms,
    nav,
    pages,
    security,
    session,
    theme,
)
from dashboard_app.config import DashboardSettings

TEMPLATES = Path(__file__).parent.parent / "templates"


def create_app(settings: DashboardSettings | None = None) -> Flask:
    """Returns the dashboard; raises ConfigurationError with every complaint at once."""
    settings = settings or load(DashboardSettings)
    app = Flask(__name__, template_folder=str(TEMPLATES), static_folder=None)
    app.secret_key = settings.secret_key.get_secret_value()
    app.extensions["settings"] = settings
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    session.install(app, settings)
    clients.install(app, settings)
    chassis.assemble(
        app,
        settings,
        authenticate=session.authenticate,
        on_anonymous=answers.to_sign_in,
        checks={"sessions": app.extensions["session_store"].check},
        degraded_checks={
            "users": app.extensions["users"].check,
            "analytics": app.extensions["analytics"].check,
            "browser_libraries": partial(assets.check, settings.browser_dir),
        },
        headers={},
    )
    app.config["COMPRESS_BR_LEVEL"] = 6  # fragments are small: a sixth smaller for half a ms
    for module in (security, answers, formats, forms, nav, theme, pages):
        module.install(app)
    assets.install(app, settings)
    app.wsgi_app = security.Headers(  # type: ignore[method-assign]
        app.wsgi_app, behind_https=settings.behind_https
    )
    return app
