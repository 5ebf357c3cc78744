"""Reads go to a real streaming replica, say how fresh they are, and survive its loss."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.analytics_service import Service, service
from tests.servers import PostgresServer, standby_of, wait_until

AGREED = {"wal_level": "replica", "max_wal_senders": "5", "hot_standby": "on"}


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    """Yields a PostgreSQL that others may follow."""
    with PostgresServer(AGREED) as running:
        yield running


@pytest.fixture(scope="module")
def replica(primary: PostgresServer) -> Iterator[PostgresServer]:
    """Yields a streaming replica of it."""
    with standby_of(primary) as running:
        yield running


def send(running: Service) -> None:
    answer = running.session().post(
        f"{running.url}/analytics/events", json={"event_type": "a", "user_id": 1}, timeout=10
    )
    assert answer.status_code == 201


def test_answers_from_a_replica_say_how_fresh_they_are(
    primary: PostgresServer, replica: PostgresServer
) -> None:
    with service(primary) as plain:
        send(plain)
        assert "as_of" not in plain.get("/analytics/summary")
        plain.stack.stop("analytics")
        plain.stack.environment["ANALYTICS_REPLICA_URL"] = replica.url(plain.database)
        plain.stack.start("analytics")
        begun = datetime.now(UTC)
        wait_until("the replica's news", lambda: total(plain) == 1)
        for path in ("/analytics/summary", "/analytics/events", "/analytics/events/by-type"):
            as_of = datetime.fromisoformat(plain.get(path)["as_of"])
            assert begun - timedelta(minutes=2) < as_of <= datetime.now(UTC)
        export = plain.session().get(f"{plain.url}/analytics/export", timeout=10)
        assert as_of <= datetime.fromisoformat(export.headers["As-Of"]) <= datetime.now(UTC)
        replica.execute("SELECT pg_wal_replay_pause()")
        send(plain)
        paused = plain.get("/analytics/summary")
        replica.execute("SELECT pg_wal_replay_resume()")
        assert paused["total_events"] == 1
        assert datetime.fromisoformat(paused["as_of"]) < datetime.now(UTC)
        wait_until("the replica's news", lambda: total(plain) == 2)
        replica.stop()
        answer = plain.get("/analytics/summary")
        assert answer["total_events"] == 2
        assert "as_of" not in answer
        health = plain.session().get(f"{plain.url}/health", timeout=10)
        assert (health.status_code, health.json()["checks"]["replica"]) == (200, "down")


def total(running: Service) -> int:
    found: int = running.get("/analytics/summary")["total_events"]
    return found
