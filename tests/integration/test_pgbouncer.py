"""Behind PgBouncer in session pooling all works as without; transaction pooling is refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
import requests
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from analytics_app.dialects import postgresql
from chassis import database, postgres
from tests.operations.programs import program
from tests.servers import BUSY_SECONDS, PostgresServer, pgbouncer, wait_until
from tests.stack import Stack

SETTINGS = "statement_timeout", "TimeZone", "application_name"
SHOWN = ", ".join(f"current_setting('{name}')" for name in SETTINGS)
ASK = text(f"SELECT {SHOWN}, pg_backend_pid()")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Yields a PostgreSQL whose own settings are not ours."""
    with PostgresServer({"timezone": "Asia/Tokyo", "log_statement": "all"}) as running:
        for name in ("users", "analytics"):
            running.execute(f"CREATE DATABASE {name}")
        yield running


@pytest.fixture(scope="module")
def session_pooling(server: PostgresServer) -> Iterator[int]:
    """Yields the port of a PgBouncer that lends few connections, again and again."""
    given = {"server_reset_query": "DISCARD ALL", "application_name_add_host": "1"}
    with pgbouncer(program("pgbouncer"), server.port, **given) as port:
        yield port


def address(port: int, name: str) -> str:
    return f"postgresql://postgres@127.0.0.1:{port}/{name}"


def engine(url: str, **given: Any) -> Any:
    made = create_engine(
        database.database_url(url),
        **database.engine_options(url, application_name="footfall-test", **given),
    )
    database.prepare(made)
    return made


def test_a_session_has_what_was_set_for_as_long_as_it_lasts(session_pooling: int) -> None:
    wanted = ("700ms", "UTC", "footfall-test")
    ours = engine(address(session_pooling, "postgres"), statement_timeout_ms=700)
    with ours.connect() as connection:
        assert connection.execute(ASK).one()[:3] == wanted
    # Another client comes and goes, and what it used is reset behind it.
    other = psycopg2.connect(address(session_pooling, "postgres"))
    other.cursor().execute("SET timezone TO 'Africa/Cairo'")
    other.commit()
    other.close()
    with ours.connect() as connection:
        assert connection.execute(ASK).one()[:3] == wanted
        with pytest.raises(OperationalError, match="statement timeout"):
            connection.execute(text("SELECT pg_sleep(5)"))
    # Who is lent the server's connection next finds nothing of ours.
    ours.dispose()
    with psycopg2.connect(address(session_pooling, "postgres")) as other:
        cursor = other.cursor()
        cursor.execute(f"SELECT {SHOWN}")
        found = cursor.fetchone()
        assert found is not None
        assert found[:2] == ("0", "Asia/Tokyo")


def test_ingest_has_its_settings_and_statements(session_pooling: int) -> None:
    plain = create_engine(database.database_url(address(session_pooling, "analytics")))
    migrated(session_pooling)
    connection = postgresql.open_for_ingest(plain, time.monotonic() + 5, 1.0)
    ask = "SELECT current_setting('{}')"
    for name, value in {**postgresql.SESSION, "statement_timeout": "900ms"}.items():
        found = postgresql.run(connection, time.monotonic() + 5, ask.format(name))
        assert found.fetchone() == (value,), name
    names = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'store_%'"
    assert postgresql.run(connection, time.monotonic() + 5, names).fetchone() == (3,)
    postgresql.close(connection)
    plain.dispose()


def migrated(port: int) -> Stack:
    """Returns the platform with both of its databases behind the port, migrated through it."""
    stack = Stack(
        users_database_url=address(port, "users"),
        analytics_database_url=address(port, "analytics"),
        settings={"REPORT_TIMEOUT_MS": "3000"},
    )
    stack.migrate()
    return stack


def test_the_platform_works_behind_it(server: PostgresServer, session_pooling: int) -> None:
    with migrated(session_pooling) as stack:
        for url in (stack.users_url, stack.analytics_url):
            assert requests.get(f"{url}/health", timeout=10).json()["checks"]["database"] == "ok"
        headers = stack.first_account()
        event = {"event_type": "page_view", "user_id": 77}
        for path, body in (("", event), ("/batch", {"events": [event] * 3})):
            url = f"{stack.analytics_url}/analytics/events{path}"
            assert requests.post(url, json=body, headers=headers, timeout=10).ok
        wait_until("the relay's delivery", lambda: total(stack, headers) >= 6)
        assert_a_slow_report_is_ended(server, stack, headers)
        erased = requests.delete(
            f"{stack.analytics_url}/analytics/users/77/events", headers=headers, timeout=10
        )
        assert erased.json()["erased"] == 4
        stack.flask("analytics_app", "verify")
        assert_every_session_is_ours(server)


def assert_a_slow_report_is_ended(
    server: PostgresServer, stack: Stack, headers: dict[str, str]
) -> None:
    """Asserts that our limit ends a statement, and that the server has heard so."""
    holder = psycopg2.connect(server.url("analytics"))
    holder.cursor().execute("LOCK TABLE counts, counts_day IN ACCESS EXCLUSIVE MODE")
    answer = requests.get(f"{stack.analytics_url}/analytics/summary", headers=headers, timeout=10)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    wait_until("the statement's end", lambda: server.execute(waiting) == [(0,)], 3 + BUSY_SECONDS)
    holder.close()


def assert_every_session_is_ours(server: PostgresServer) -> None:
    """Asserts that no name has had anything added: erasures find ingest's sessions by theirs."""
    names = server.execute(
        "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = 'analytics'"
    )
    assert ("footfall-ingest",) in names
    assert all(":" not in str(name) for (name,) in names), names


def total(stack: Stack, headers: dict[str, str]) -> int:
    answer = requests.get(
        f"{stack.analytics_url}/analytics/events/by-type", headers=headers, timeout=10
    )
    assert answer.status_code == 200, answer.text
    found: int = answer.json()["total"]
    return found


@pytest.mark.parametrize("round_robin", ["0", "1"])
def test_transaction_pooling_is_refused(
    server: PostgresServer, round_robin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    logger = SimpleNamespace(error=lambda _, reason: said.append(reason))
    monkeypatch.setattr(postgres, "log", logger)
    given = {"pool_mode": "transaction", "server_round_robin": round_robin}
    with pgbouncer(program("pgbouncer"), server.port, **given) as port:
        ours = engine(address(port, "postgres"))
        for _ in range(2):
            with pytest.raises(OperationalError, match="pool_mode = session"):
                database.check(ours)
    assert said == [postgres.TRANSACTION_POOLING] * 2


def test_the_kind_of_pooling_is_looked_at_once(
    server: PostgresServer, session_pooling: int
) -> None:
    ours = engine(address(session_pooling, "postgres"))
    looks = []
    for _ in range(2):
        with ours.connect(), ours.connect():
            looks.append(server.log().count("statement: SELECT pg_backend_pid()\n"))
        ours.dispose()
    assert looks[0] == looks[1] > 0


def test_a_pooler_with_no_second_connection_is_taken_as_it_is(server: PostgresServer) -> None:
    with pgbouncer(program("pgbouncer"), server.port, default_pool_size="1") as port:
        ours = engine(address(port, "postgres"))
        with ours.connect() as connection:
            assert connection.execute(ASK).one()[:3] == ("3s", "UTC", "footfall-test")
        ours.dispose()
