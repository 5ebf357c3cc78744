"""The analytics service of the other unit tests, and histories to ask it about."""

from tests.unit.analytics.conftest import (
    admin,
    analyst,
    app,
    make_app,
    standing,
    users_service,
    viewer,
)

__all__ = ["admin", "analyst", "app", "make_app", "standing", "users_service", "viewer"]
