"""The names of accounts that other services know by their ids alone."""

from __future__ import annotations

from collections.abc import Iterable

from chassis.errors import Unavailable
from dashboard_app.clients import users


def usernames(ids: Iterable[int | None]) -> dict[int, str] | None:
    """Returns the names of those accounts that exist; None while users doesn't answer."""
    try:
        return users().usernames({each for each in ids if each is not None})
    except Unavailable:
        return None
