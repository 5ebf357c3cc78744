"""The users service as real processes: how its tests start it and talk to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import requests

from tests.stack import Stack

PASSWORD = "correct horse battery"
Result = TypeVar("Result")


class Api:
    """One users service; each call is a connection of its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(
        self, method: str, path: str, token: str | None = None, **given: Any
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        given.setdefault("timeout", 30)
        return requests.request(method, self.url + path, headers=headers, **given)

    def register(self, name: str, **changed: Any) -> requests.Response:
        body = {"email": f"{name}@example.com", "username": name, "password": PASSWORD}
        return self.call("POST", "/users", json={**body, **changed})

    def sign_in(self, name: str, password: str = PASSWORD) -> requests.Response:
        return self.call("POST", "/login", json={"username": name, "password": password})

    def tokens(self, name: str) -> dict[str, Any]:
        answer = self.sign_in(name)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def refresh(self, token: str) -> requests.Response:
        form = {"grant_type": "refresh_token", "refresh_token": token}
        return self.call("POST", "/token", data=form)


@contextmanager
def users_stack(
    database_url: str, parts: Sequence[str] = ("users",), **given: Any
) -> Iterator[Stack]:
    """Runs parts of the platform, the users service on this database (in memory: a file)."""
    settings = {"SIGN_IN_FAILURES_PER_ADDRESS": "100000", "HASHING_SLOTS": "8"}
    settings |= given.pop("settings", {})
    chosen = None if database_url == "sqlite://" else database_url
    stack = Stack(users_database_url=chosen, parts=tuple(parts), settings=settings, **given)
    with stack:
        yield stack


def at_once(calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """Returns what the calls return, made in parallel."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [each.result() for each in [pool.submit(call) for call in calls]]
