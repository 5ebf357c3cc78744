"""The dashboard of the other unit tests, over the real services."""

from tests.unit.dashboard.conftest import admin, empty_databases, make_platform, platform

__all__ = ["admin", "empty_databases", "make_platform", "platform"]
