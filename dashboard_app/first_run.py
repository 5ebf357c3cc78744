"""Whether anybody but the users service has sent an event yet."""

from __future__ import annotations

from flask import current_app

from chassis.client import Refused
from chassis.errors import Unavailable
from dashboard_app import reports
from dashboard_app.clients import Json, analytics
from dashboard_app.filters import Filters

OWN_TYPES = frozenset(
    (
        "user_registered", "user_logged_in", "user_login_failed", "user_logged_out",
        "user_updated", "user_password_changed", "user_deactivated", "user_reactivated",
        "user_deleted",
    )
)  # fmt: skip
KEY = {"name": "First event", "scopes": ["events:write"]}
OVER = "first_run_is_over"


def is_now(filters: Filters) -> bool:
    """Whether only the users service's own event types exist; once that is over, for good."""
    if OVER in current_app.extensions:
        return False
    try:
        over = others(reports.ranking(filters)) or others(all_types())
    except (Unavailable, Refused):
        return False
    if over:
        current_app.extensions[OVER] = True
    return not over


def others(types: list[str]) -> bool:
    return not OWN_TYPES.issuperset(types)


def all_types() -> list[str]:
    return [each["event_type"] for each in analytics().by_type({})["items"]]


def make_key() -> Json:
    """Returns a new key that may send events."""
    return analytics().make_api_key(KEY)
