"""What every test may use: real servers, started once, and databases of their own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import psycopg2
import pytest

from chassis import patience
from tests.servers import BUSY_SECONDS, PostgresServer, valkey

numbers = itertools.count()


@pytest.hookimpl(trylast=True)  # once the markers are there
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives tests in a browser, and no others, a second try; the closing lines name each."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(autouse=True, scope="session")
def room_for_other_work() -> Iterator[None]:
    """Has connections that tests make themselves wait for a server whose disk others keep busy."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(patience, "CONNECT_SECONDS", patience.CONNECT_SECONDS + BUSY_SECONDS)
        yield


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[Callable[[str], str]]:
    """Yields how to address a database of the test server (or of TEST_POSTGRES_URL)."""
    if given := os.environ.get("TEST_POSTGRES_URL"):
        yield lambda name: given.rsplit("/", 1)[0] + f"/{name}"
        return
    with PostgresServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def new_postgres_database(postgres_url: Callable[[str], str]) -> Callable[[], str]:
    """Returns a function that makes an empty PostgreSQL database and returns its URL."""

    def make() -> str:
        name = f"footfall_{os.getpid()}_{next(numbers)}"
        execute(postgres_url("postgres"), f"CREATE DATABASE {name}")
        return postgres_url(name)

    return make


@pytest.fixture(scope="session")
def reused_postgres_database(new_postgres_database: Callable[[], str]) -> str:
    """Returns the one database that tests empty and use in turn: making one takes longer."""
    return new_postgres_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Returns an empty database on each engine in turn; SQLite's is in memory."""
    if request.param == "sqlite":
        return "sqlite://"
    url: str = request.getfixturevalue("reused_postgres_database")
    execute(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        "DROP SCHEMA public CASCADE",
        "CREATE SCHEMA public",
    )
    return url


def execute(url: str, *statements: str) -> None:
    """Runs each statement in a transaction of its own."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Yields a real Valkey server's address (or TEST_REDIS_URL)."""
    if given := os.environ.get("TEST_REDIS_URL"):
        yield given
        return
    with valkey() as (address, _process):
        yield address
