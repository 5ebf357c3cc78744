"""A streaming replica, made by ops/postgres/replica.sh, answers analytics' reports."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.servers import PostgresServer, accepts_connections, end, free_port, wait_until
from tests.stack import ROOT, Stack


class Replica:
    """The replica's process, in a directory of the primary's."""

    def __init__(self, primary: PostgresServer) -> None:
        self.port = free_port()
        home, user = primary.home, primary.as_user
        shutil.copy(ROOT / "ops" / "postgres" / "replica.sh", home / "replica.sh")
        password = home / "password"
        password.write_text("unused: this server trusts its own machine")
        environment = {
            "PATH": f"{primary.programs}:{os.environ['PATH']}",
            "PGDATA": str(home / "replica"),
            "PRIMARY_HOST": "127.0.0.1",
            "PGPORT": str(primary.port),
            "REPLICATION_PASSWORD_FILE": str(password),
        }
        words = [
            f"-cport={self.port}",
            "-clisten_addresses=127.0.0.1",
            "-cunix_socket_directories=",
            "-cmax_connections=200",
        ]
        with (home / "replica.log").open("wb") as log:
            self.process = subprocess.Popen(
                ["bash", str(home / "replica.sh"), *words],
                env=environment, cwd=home, user=user, group=user, stdout=log, stderr=log,
            )  # fmt: skip
        wait_until("the replica's start", lambda: self.is_open(home / "replica.log"), 60)

    def is_open(self, log: Path) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(log.read_text()[-2000:])
        return accepts_connections(self.port)


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    with PostgresServer({"wal_level": "replica"}) as server:
        server.execute("CREATE ROLE replicator LOGIN REPLICATION")
        # As the app's role, it sees of a WAL receiver that there is one.
        server.execute("CREATE ROLE reader LOGIN IN ROLE pg_read_all_data")
        for name in ("users", "analytics"):
            server.execute(f"CREATE DATABASE {name}")
        yield server


def test_reports_come_from_the_replica_and_say_of_when(primary: PostgresServer) -> None:
    replica = Replica(primary)
    try:
        address = f"postgresql://reader@127.0.0.1:{replica.port}/analytics"
        stack = Stack(
            users_database_url=primary.url("users"),
            analytics_database_url=primary.url("analytics"),
            parts=("users", "analytics"),
            settings={"ANALYTICS_REPLICA_URL": address},
        )
        with stack:
            headers = stack.first_account()
            stored = requests.post(
                f"{stack.analytics_url}/analytics/events",
                json={"event_type": "page_view"}, headers=headers, timeout=10,
            )  # fmt: skip
            assert stored.status_code == 201
            wait_until("the replica's report", lambda: total(stack, headers) == 1)
            assert "as_of" in summary(stack, headers)
            health = requests.get(f"{stack.analytics_url}/health", timeout=10).json()
            assert health["checks"]["replica"] == "ok"
            assert follows(stack)
            primary.execute("ALTER ROLE replicator NOLOGIN")
            primary.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
            wait_until("the figure of a replica that is cut off", lambda: not follows(stack))
            primary.execute("ALTER ROLE replicator LOGIN")
            wait_until("that of one that follows again", lambda: follows(stack))
            end(replica.process)
            assert not follows(stack)
            down = requests.get(f"{stack.analytics_url}/health", timeout=10)
            assert (down.status_code, down.json()["status"]) == (200, "degraded")
    finally:
        end(replica.process)


def follows(stack: Stack) -> bool:
    """Whether the service's metrics say that its replica follows."""
    lines = requests.get(f"{stack.analytics_url}/metrics", timeout=10).text.splitlines()
    [figure] = [each for each in lines if each.startswith("analytics_replica_follows ")]
    return float(figure.split()[1]) == 1


def summary(stack: Stack, headers: dict[str, str]) -> dict[str, object]:
    answer = requests.get(f"{stack.analytics_url}/analytics/summary", headers=headers, timeout=10)
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


def total(stack: Stack, headers: dict[str, str]) -> object:
    by_type = summary(stack, headers)["events_by_type"]
    assert isinstance(by_type, dict)
    return by_type.get("page_view")
