"""A PostgreSQL that stalls: whoever asks it is told so in time, and is well again after it."""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2
import pytest
import requests
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from chassis import database, patience
from tests.chaos.link import Link, Wire
from tests.integration.analytics_service import Service, service
from tests.integration.users_service import PASSWORD, Api, users_stack
from tests.servers import BUSY_SECONDS, PostgresServer, standby_of, wait_until

TOLD_SECONDS = 3 + BUSY_SECONDS
BACK_SECONDS = 2 + BUSY_SECONDS
AT_ONCE = 16  # twice a worker's threads


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer({"wal_level": "replica"}) as running:
        yield running


class Stopped:
    """A server whose processes can be stopped, with its own address."""

    def __init__(self, server: PostgresServer) -> None:
        self.port = server.port
        self.begin = lambda: server.signal_all(signal.SIGSTOP)
        self.end = lambda: server.signal_all(signal.SIGCONT)


class Severed:
    """A server behind a link on which packets vanish."""

    def __init__(self, wire: Wire, server: PostgresServer) -> None:
        link = Link(wire, server.port)
        self.port, self.begin, self.end = link.port, link.cut, link.heal


Stall = Stopped | Severed


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with Wire() as running:
        yield running


@pytest.fixture(params=["stopped", "severed"])
def stall(request: pytest.FixtureRequest, server: PostgresServer, wire: Wire) -> Stall:
    """Returns the way to a server, and how it falls silent."""
    return Stopped(server) if request.param == "stopped" else Severed(wire, server)


@contextmanager
def silence(*stalls: Stall) -> Iterator[None]:
    for each in stalls:
        each.begin()
    try:
        yield
    finally:
        for each in stalls:
            each.end()


def engine(port: int, seconds: float) -> Engine:
    url = f"postgresql+psycopg2://postgres@127.0.0.1:{port}/postgres"
    options = database.engine_options(
        url,
        application_name="test",
        pool_size=8,
        statement_timeout_ms=int(seconds * 1000),
    )
    return create_engine(url, **options)


def test_a_server_that_says_nothing_is_given_up(stall: Stall) -> None:
    ours = engine(stall.port, 20)
    database.check(ours)
    with silence(stall):
        for _ in range(2):  # on a connection that was there, and on a new one
            begun = time.monotonic()
            with pytest.raises(OperationalError):
                database.check(ours)
            assert time.monotonic() - begun < TOLD_SECONDS
    wait_until("its return", lambda: not fails(ours), BACK_SECONDS)
    ours.dispose()


def fails(ours: Engine) -> bool:
    try:
        database.check(ours)
    except OperationalError:
        return True
    return False


def test_once_it_is_known_nobody_waits_until_it_answers_again(stall: Stall) -> None:
    ours = engine(stall.port, 20)
    database.check(ours)
    with silence(stall):
        assert fails(ours)
        took = []
        for _ in range(12):
            begun = time.monotonic()
            assert fails(ours)
            took.append(time.monotonic() - begun)
            time.sleep(0.2)
        assert statistics.median(took) < 0.5, "else each waits a second"
    wait_until("its return", lambda: not fails(ours), BACK_SECONDS)
    ours.dispose()


def test_all_who_wait_learn_it_from_one_probe(stall: Stall, server: PostgresServer) -> None:
    ours = engine(stall.port, 20)
    asleep = "FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    # Who was given up before sleeps on in the server.
    server.execute(f"SELECT pg_terminate_backend(pid) {asleep}")
    wait_until("nobody to wait", lambda: server.execute(f"SELECT pid {asleep}") == [])

    def sleep() -> float:
        with pytest.raises(OperationalError), ours.connect() as connection:
            connection.execute(text("SELECT pg_sleep(15)"))
        return time.monotonic()

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(sleep) for _ in range(8)]
        wait_until("all to wait", lambda: len(server.execute(f"SELECT pid {asleep}")) == 8)
        before = threading.active_count()
        with silence(stall):
            begun = time.monotonic()
            time.sleep(1.2)  # past the silence after which the probe begins
            assert threading.active_count() <= before + 1
            assert max(each.result() for each in waiting) - begun < TOLD_SECONDS
    ours.dispose()


def test_a_slow_statement_is_waited_for_while_the_server_answers(stall: Stall) -> None:
    ours = engine(stall.port, 6)
    begun = time.monotonic()
    with ours.connect() as connection:
        connection.execute(text("SELECT pg_sleep(5)"))
    assert time.monotonic() - begun >= 5
    ours.dispose()


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a call: its status, and after how many seconds."""

    what: str
    status: int
    seconds: float


def timed(what: str, call: Callable[[], requests.Response]) -> Answered:
    begun = time.monotonic()
    status = call().status_code
    return Answered(what, status, time.monotonic() - begun)


def assert_all_give_up_in_time(
    calls: dict[str, Callable[[], requests.Response]], health: str, stall: Stall, *others: Stall
) -> None:
    """Asserts that many at once, and who asks after the health at any moment, are told in time."""
    with ThreadPoolExecutor(64) as pool, silence(stall, *others):
        pending: list[Future[Answered]] = []
        for second in range(4):
            if second != 2:  # so that those after it find nobody who waits
                for what, call in calls.items():
                    pending += [pool.submit(timed, what, call) for _ in range(AT_ONCE // 2)]
            for _ in range(2):
                ask = lambda: requests.get(health, timeout=30)  # noqa: E731
                pending.append(pool.submit(timed, "health", ask))
                time.sleep(0.5)
        answers = [each.result() for each in pending]
    # No more of these than a few run at once for one key, whatever the database does.
    assert {each.status for each in answers if "retention" not in each.what} == {503}, answers
    late = [each for each in answers if each.seconds >= TOLD_SECONDS]
    assert not late


def assert_gives_up_in_time_and_returns(
    calls: dict[str, Callable[[], requests.Response]], health: str, stall: Stall
) -> None:
    """Asserts that all is well, then 503 in time, and soon after the stall well again."""
    assert {call().status_code for call in calls.values()} == {200}
    assert requests.get(health, timeout=10).status_code == 200
    assert_all_give_up_in_time(calls, health, stall)
    for call in (*calls.values(), lambda: requests.get(health, timeout=10)):
        wait_until("its return", lambda call=call: call().ok, BACK_SECONDS)


def behind(stall: Stall, running: Service) -> str:
    return f"postgresql://postgres@127.0.0.1:{stall.port}/{running.database}"


def analytics_calls(running: Service) -> dict[str, Callable[[], requests.Response]]:
    def get(path: str) -> Callable[[], requests.Response]:
        return lambda: running.session().get(f"{running.url}/analytics{path}", timeout=30)

    paths = ("/summary", "/events", "/retention?event_type=a", "/saved-reports", "/export")
    return {path: get(path) for path in paths}


def test_analytics_gives_up_in_time(server: PostgresServer, stall: Stall) -> None:
    with service(server) as running:
        move(running, stall)
        calls = analytics_calls(running)
        assert_gives_up_in_time_and_returns(calls, f"{running.url}/health", stall)


def move(running: Service, stall: Stall, **settings: str) -> None:
    """Has the service reach its database by the way that can fall silent."""
    running.stack.stop("analytics")
    running.stack.environment |= {"ANALYTICS_DATABASE_URL": behind(stall, running), **settings}
    running.stack.start("analytics")


def test_with_a_replica_that_is_silent_too(server: PostgresServer, wire: Wire) -> None:
    with standby_of(server) as standby, service(server) as running:
        here, there = Severed(wire, server), Severed(wire, standby)
        move(running, here, ANALYTICS_REPLICA_URL=behind(there, running))
        calls = analytics_calls(running)
        wait_until("the replica's news", lambda: calls["/summary"]().ok)
        assert_all_give_up_in_time(calls, f"{running.url}/health", here, there)


def test_a_replica_that_is_silent_alone_is_passed_over(server: PostgresServer, wire: Wire) -> None:
    with standby_of(server) as standby, service(server) as running:
        here, there = Severed(wire, server), Severed(wire, standby)
        move(running, here, ANALYTICS_REPLICA_URL=behind(there, running))
        calls = analytics_calls(running)
        wait_until("the replica's news", lambda: calls["/summary"]().ok)
        with silence(there):
            found = timed("summary", calls["/summary"])
            health = requests.get(f"{running.url}/health", timeout=10)
        assert found.status == 200
        assert found.seconds < TOLD_SECONDS
        assert health.json()["checks"]["replica"] == "down"


def test_users_gives_up_in_time(server: PostgresServer, stall: Stall) -> None:
    server.execute("DROP DATABASE IF EXISTS users")
    server.execute("CREATE DATABASE users")
    with users_stack(f"postgresql://postgres@127.0.0.1:{stall.port}/users") as stack:
        api = Api(stack.users_url)
        assert api.register("ada").ok
        token = api.tokens("ada")["access_token"]
        calls = {
            "me": lambda: api.call("GET", "/users/me", token),
            "sign in": lambda: api.sign_in("ada", PASSWORD),
            "revoked": lambda: api.call("GET", "/.well-known/revoked"),
        }
        assert_gives_up_in_time_and_returns(calls, f"{stack.users_url}/health", stall)


def test_a_migration_waits_longer_for_its_connection_than_a_request(
    server: PostgresServer, wire: Wire
) -> None:
    server.execute("CREATE DATABASE migrated")
    link = Link(wire, server.port)
    link.cut()
    url = f"url=postgresql://postgres@127.0.0.1:{link.port}/migrated"
    command = (sys.executable, "-m", "alembic", "-n", "users", "-x", url, "upgrade", "head")
    migration = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_until("its connection", lambda: link.serving)
    time.sleep(patience.CONNECT_SECONDS)
    link.heal()
    _, said = migration.communicate(timeout=60)
    assert migration.returncode == 0, said


def test_a_slow_report_has_all_its_time(server: PostgresServer) -> None:
    with service(server, REPORT_TIMEOUT_MS="8000") as running:
        calls = analytics_calls(running)
        assert calls["/summary"]().ok
        holder = psycopg2.connect(server.url(running.database))
        holder.cursor().execute("LOCK TABLE counts, counts_day IN ACCESS EXCLUSIVE MODE")
        threading.Timer(6, holder.close).start()
        found = timed("summary", calls["/summary"])
        assert found.status == 200
        assert found.seconds > 5


def test_a_stream_that_falls_silent_ends_in_time(server: PostgresServer, wire: Wire) -> None:
    with service(server) as running:
        here = Severed(wire, server)
        move(running, here)
        one = {"event_type": "a", "user_id": 1}
        assert running.session().post(f"{running.url}/analytics/events", json=one, timeout=10).ok
        running.execute(
            "INSERT INTO events (actor, created_at, event_id, event_type, user_id, metadata)"
            " SELECT 1, now() - n * interval '1 us', gen_random_uuid(), 'a', 1,"
            " json_build_object('text', repeat('x', 4000)) FROM generate_series(1, 30000) n"
        )
        url = f"{running.url}/analytics/export"
        answer = running.session().get(url, stream=True, timeout=30)
        chunks = answer.iter_content(65536)
        next(chunks)
        with silence(here):
            begun = time.monotonic()
            with pytest.raises(requests.RequestException):
                for _ in chunks:
                    pass
            assert time.monotonic() - begun < TOLD_SECONDS
