"""The users service beside the real analytics service: delivery, export, erasure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.users_service import PASSWORD, Api, users_stack
from tests.servers import BUSY_SECONDS, wait_until
from tests.stack import Stack


@pytest.fixture(params=["sqlite", "postgresql"])
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    parts = ("users", "relay", "analytics")
    if request.param == "sqlite":
        with users_stack("sqlite://", parts) as running:
            yield running
        return
    make: Callable[[], str] = request.getfixturevalue("new_postgres_database")
    with users_stack(make(), parts, analytics_database_url=make()) as running:
        yield running


class Person:
    """An account and what analytics says of it."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.users, self.analytics = Api(stack.users_url), Api(stack.analytics_url)
        self.name = name
        self.id: int = self.users.register(name).json()["id"]
        self.token: str = self.users.tokens(name)["access_token"]

    def events(self, user_id: int) -> list[str]:
        path = f"/analytics/users/{user_id}/events"
        answer = self.analytics.call("GET", path, self.token)
        assert answer.status_code == 200, answer.text
        return [each["event_type"] for each in answer.json()["items"]]

    def counts(self) -> dict[str, int]:
        answer = self.analytics.call("GET", "/analytics/summary", self.token).json()
        found: dict[str, int] = answer["events_by_type"]
        return found


def test_a_life_is_told_exported_and_erased(stack: Stack) -> None:
    admin, ada = Person(stack, "root"), Person(stack, "ada")
    wait_until("two events", lambda: len(ada.events(ada.id)) == 2, 20)
    assert ada.events(ada.id) == ["user_logged_in", "user_registered"]
    document: dict[str, Any] = ada.users.call("GET", "/users/me/export", ada.token).json()
    assert [each["event_type"] for each in document["events"]] == ada.events(ada.id)
    assert document["account"]["username"] == "ada"

    stack.stop("analytics")
    answer = ada.users.call("GET", "/users/me/export", ada.token)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    body = {"full_name": "told while analytics is down"}
    assert ada.users.call("PATCH", "/users/me", ada.token, json=body).status_code == 200
    gone = {"current_password": PASSWORD}
    assert ada.users.call("DELETE", "/users/me", ada.token, json=gone).status_code == 204

    stack.start("analytics")
    wait_until("the erasure", lambda: admin.counts().get("user_deleted") == 1, 40)
    assert admin.events(ada.id) == []
    assert admin.counts() == {"user_registered": 1, "user_logged_in": 1, "user_deleted": 1}


def test_an_event_is_in_analytics_within_seconds(stack: Stack) -> None:
    admin = Person(stack, "root")
    wait_until("both events", lambda: len(admin.events(admin.id)) == 2, 5 + BUSY_SECONDS)
