"""The pages, a module each; every one is a blueprint of that name."""

from __future__ import annotations

from flask import Flask

from dashboard_app.pages import (
    accounts,
    api_keys,
    audit,
    events,
    funnels,
    invites,
    live,
    notes,
    overview,
    password_reset,
    paths,
    properties,
    register,
    retention,
    saved_reports,
    settings,
    sign_in,
    timeline,
)

PAGES = (
    sign_in,
    register,
    password_reset,
    overview,
    events,
    timeline,
    live,
    funnels,
    retention,
    paths,
    properties,
    saved_reports,
    notes,
    accounts,
    invites,
    api_keys,
    audit,
    settings,
)


def install(app: Flask) -> None:
    """Registers every page."""
    for page in PAGES:
        app.register_blueprint(page.routes)
