"""A real Chromium before the real platform."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.browser import Browser
from tests.stack import Stack, must

PASSWORD = "correct horse battery"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips every test here by name where Chromium or its driver is missing."""
    missing = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"{' and '.join(missing)} not installed"))


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Yields the whole platform on SQLite, with an admin `root`."""
    with Stack() as running:
        register(running, "root")
        yield running


def register(stack: Stack, name: str, **account: str) -> int:
    """Registers `name`@example.com at the users service and returns the id."""
    body = {"email": f"{name}@example.com", "username": name, "password": PASSWORD, **account}
    answer = must("POST", f"{stack.users_url}/users", json=body)
    number: int = answer.json()["id"]
    return number


def promote(stack: Stack, user_id: int, role: str) -> None:
    """Gives an account a role, as the admin."""
    headers = {"Authorization": f"Bearer {token(stack)}"}
    must("PATCH", f"{stack.users_url}/users/{user_id}", json={"role": role}, headers=headers)


def token(stack: Stack, name: str = "root") -> str:
    """Returns a new access token of `name`."""
    body = {"username": name, "password": PASSWORD}
    access: str = must("POST", f"{stack.users_url}/login", json=body).json()["access_token"]
    return access


def send(stack: Stack, *events: dict[str, object]) -> None:
    """Stores events as the admin."""
    answer = must(
        "POST",
        f"{stack.analytics_url}/analytics/events/batch",
        json={"events": list(events)},
        headers={"Authorization": f"Bearer {token(stack)}"},
    )
    assert answer.json()["rejected"] == 0, answer.text


@pytest.fixture
def browser(stack: Stack) -> Iterator[Browser]:
    """Yields a fresh browser at the dashboard; the console must have stayed silent."""
    prefix = f"chromium-{os.getpid()}-"
    with (
        tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as profile,
        Browser(stack.dashboard_url, profile) as opened,
    ):
        yield opened
        assert opened.complaints() == []


@pytest.fixture
def someone() -> str:
    """Returns a username nobody has yet."""
    return "u" + secrets.token_hex(4)
