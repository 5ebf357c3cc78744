"""A database that answers and takes no changes: 503 for what changes, the rest works."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from analytics_app.keys import BELIEVED_SECONDS
from tests.chaos.link import Link, Wire
from tests.integration.users_service import PASSWORD
from tests.servers import BUSY_SECONDS, PostgresServer, standby_of, wait_until
from tests.stack import Stack

READ_ONLY = "default_transaction_read_only"
NOTICED_SECONDS = 2.0 + BUSY_SECONDS
WELL_AGAIN_SECONDS = 2.0
ENDS_ARRIVE_SECONDS = 0.3  # over the link, at which nobody can see them come
AGREED = {"wal_level": "replica", "max_wal_senders": "5", "hot_standby": "on"}


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    with PostgresServer(AGREED) as server:
        for name in ("users", "analytics"):
            server.execute(f"CREATE DATABASE {name}")
        yield server


@pytest.fixture(scope="module")
def standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    with standby_of(primary) as server:
        yield server


class Platform:
    """Users, analytics and relay on one database server behind a link, and an admin."""

    def __init__(self, link: Link) -> None:
        url = f"postgresql://postgres@127.0.0.1:{link.port}"
        self.stack = Stack(
            users_database_url=f"{url}/users",
            analytics_database_url=f"{url}/analytics",
            parts=("users", "analytics", "relay", "maintenance"),
            settings={"INGEST_TIMEOUT_MS": "5000"},  # on a busy machine: 503 has other reasons
        )
        self.analytics = f"{self.stack.analytics_url}/analytics"
        self.users = self.stack.users_url
        self.people = self.registered = 0

    def sign_up(self) -> requests.Response:
        self.people += 1
        name = f"ada{self.people}"
        body = {"email": f"{name}@example.com", "username": name, "password": PASSWORD}
        answer = requests.post(f"{self.users}/users", json=body, timeout=10)
        self.registered += answer.ok
        return answer

    def delivered(self) -> bool:
        """Whether every registration that was answered is counted, and no other."""
        found = self.call("GET", "/events/by-type?event_type=user_registered")
        return bool(found.json()["total"] == self.registered)

    def sign_in(self) -> requests.Response:
        body = {"username": "ada1", "password": PASSWORD}
        return requests.post(f"{self.users}/login", json=body, timeout=10)

    def begin(self) -> None:
        assert self.sign_up().status_code == 201
        self.headers = {"Authorization": f"Bearer {self.sign_in().json()['access_token']}"}
        body = {"name": "site", "scopes": ["events:write", "reports:read"]}
        self.key = self.call("POST", "/api-keys", json=body).json()["key"]
        for change in self.changes():
            assert change().ok, change().text
        for read in self.reads():
            assert read().ok, read().text

    def call(self, method: str, path: str, **given: Any) -> requests.Response:
        given.setdefault("headers", self.headers)
        return requests.request(method, self.analytics + path, timeout=10, **given)

    def changes(self) -> list[Callable[[], requests.Response]]:
        """Returns calls that change something, through each engine and lane."""
        key = {"Authorization": f"Bearer {self.key}"}
        event = {"event_type": "seen", "user_id": 5}
        return [
            self.sign_up,
            self.sign_in,
            lambda: self.call("POST", "/events", json=event),
            lambda: self.call("POST", "/events", json=event, headers=key),
            lambda: self.call("POST", "/events/batch", json={"events": [event] * 3}, headers=key),
            lambda: self.call("POST", "/events", json={"event_type": f"new_{uuid.uuid4()}"}),
            lambda: self.call("POST", "/saved-reports", json=saved()),
            lambda: self.call("DELETE", f"/users/{uuid.uuid4().int % 10**9 + 100}/events"),
            lambda: self.call("GET", "/export"),  # stands in the trail
        ]

    def reads(self) -> list[Callable[[], requests.Response]]:
        """Returns calls that only read."""
        key = {"Authorization": f"Bearer {self.key}"}
        return [
            lambda: self.call("GET", "/summary"),
            lambda: self.call("GET", "/summary", headers=key),
            lambda: self.call("GET", "/events"),
            lambda: self.call("GET", "/retention?event_type=seen"),
            lambda: self.call("GET", "/saved-reports"),
            lambda: requests.get(f"{self.users}/users/me", headers=self.headers, timeout=10),
        ]

    def health(self) -> tuple[int, int]:
        apps = (self.users, self.stack.analytics_url)
        users, analytics = (requests.get(f"{app}/health", timeout=10) for app in apps)
        return users.status_code, analytics.status_code

    def assert_reads_alone_work(self) -> None:
        """Asserts 503 for all that changes something, and nothing worse; and that reads go on."""
        assert self.health() == (503, 503)
        for number, change in enumerate(self.changes()):
            answer = change()
            assert answer.status_code == 503, (number, answer.text)
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert int(answer.headers["Retry-After"]) >= 1
        for number, read in enumerate(self.reads()):
            assert read().ok, (number, read().text)

    def assert_well_again(self, since: float) -> None:
        """Asserts that all works soon and goes on to: no connection is left that can't write."""
        waiting: list[Callable[[], bool]] = [lambda: self.health() == (200, 200)]
        waiting += [lambda change=change: change().ok for change in self.changes()]
        until = since + WELL_AGAIN_SECONDS
        for works in waiting:
            wait_until("a change", works, until + BUSY_SECONDS - time.monotonic())
        # Until then a session that can't write may be lent once more.
        time.sleep(max(0.0, until - time.monotonic()))
        for _ in range(4):
            for number, call in enumerate((*self.changes(), *self.reads())):
                answer = call()
                assert answer.ok, (number, answer.text)
        wait_until("the relay's deliveries", self.delivered)


def saved() -> dict[str, Any]:
    return {"name": str(uuid.uuid4()), "report": "overview", "query": ""}


@pytest.fixture(scope="module")
def running(primary: PostgresServer) -> Iterator[tuple[Platform, Link]]:
    with Wire() as wire:
        link = Link(wire, primary.port)
        platform = Platform(link)
        with platform.stack:
            platform.begin()
            yield platform, link


def test_a_server_set_read_only_and_writable_again(
    primary: PostgresServer, running: tuple[Platform, Link]
) -> None:
    platform, _ = running
    primary.execute(f"ALTER SYSTEM SET {READ_ONLY} = on")
    primary.execute("SELECT pg_reload_conf()")
    wait_until("health", lambda: platform.health() == (503, 503), NOTICED_SECONDS)
    platform.assert_reads_alone_work()
    primary.execute(f"ALTER SYSTEM RESET {READ_ONLY}")
    primary.execute("SELECT pg_reload_conf()")
    platform.assert_well_again(time.monotonic())


def test_sessions_that_began_read_only_are_not_kept(
    primary: PostgresServer, running: tuple[Platform, Link]
) -> None:
    platform, _ = running
    names = ("users", "analytics")
    for name in names:
        primary.execute(f"ALTER DATABASE {name} SET {READ_ONLY} = on")
    hang_up(primary)
    wait_until("health", lambda: platform.health() == (503, 503), NOTICED_SECONDS)
    platform.assert_reads_alone_work()
    for name in names:
        primary.execute(f"ALTER DATABASE {name} RESET {READ_ONLY}")
    platform.assert_well_again(time.monotonic())


def hang_up(server: PostgresServer) -> None:
    server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )


def test_sessions_that_ended_while_idle_cost_nobody_an_answer(
    primary: PostgresServer, running: tuple[Platform, Link]
) -> None:
    platform, _ = running
    time.sleep(BELIEVED_SECONDS)  # so that the key is looked up anew
    hang_up(primary)
    time.sleep(ENDS_ARRIVE_SECONDS)
    for number, call in enumerate((*platform.changes(), *platform.reads())):
        answer = call()
        assert answer.ok, (number, answer.text)


def test_an_address_that_leads_to_a_standby_and_back(
    primary: PostgresServer, standby: PostgresServer, running: tuple[Platform, Link]
) -> None:
    platform, link = running
    link.targets = [standby.port]
    hang_up(primary)
    wait_until("health", lambda: platform.health() == (503, 503), NOTICED_SECONDS)
    platform.assert_reads_alone_work()
    # Connections to the standby stay open: nobody but us knows that they lead astray.
    link.targets = [primary.port]
    platform.assert_well_again(time.monotonic())
    names = "SELECT count(*) FROM pg_stat_activity WHERE application_name ~ '^footfall-'"
    wait_until("nobody at the standby", lambda: standby.execute(names) == [(0,)], 5 + BUSY_SECONDS)


def test_a_standby_that_is_promoted(
    standby: PostgresServer, running: tuple[Platform, Link], primary: PostgresServer
) -> None:
    platform, link = running
    link.targets = [standby.port]
    hang_up(primary)
    wait_until("health", lambda: platform.health() == (503, 503), NOTICED_SECONDS)
    platform.assert_reads_alone_work()
    primary.stop()
    assert standby.execute("SELECT pg_promote()") == [(True,)]
    platform.assert_well_again(time.monotonic())
