"""Ingest loses nothing and counts nothing twice: under parallel writers, kills and stalls."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from tests.integration.analytics_service import Senders, Service, service
from tests.servers import BUSY_SECONDS, PostgresServer, wait_until

PROMISED_SECONDS = 2.0  # for a database that says nothing


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Yields a PostgreSQL that these tests may stop and kill: fsync is on."""
    with PostgresServer({"log_lock_waits": "on"}, durable=True) as running:
        yield running


def worker_pids(running: Service) -> list[int]:
    master = running.stack.processes["analytics"].pid
    return [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]


def assert_exact(running: Service, senders: Senders) -> None:
    """Asserts that what was answered is there, once, and that every count agrees."""
    found = {str(row[0]) for row in running.execute("SELECT event_id FROM events")}
    assert senders.stored <= found <= senders.tried
    ((rows, distinct),) = running.execute("SELECT count(*), count(DISTINCT event_id) FROM events")
    assert rows == distinct == len(found)
    ((counted,),) = running.execute("SELECT coalesce(sum(count), 0) FROM counts")
    assert counted == len(found)
    assert running.get("/analytics/events/by-type")["total"] == len(found)
    running.verify()


def test_eight_writers_with_repeats_count_every_event_once(server: PostgresServer) -> None:
    seconds = float(os.environ.get("WRITERS_SECONDS", "20"))
    with service(server) as running:
        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        with Senders(running, 8) as senders:
            time.sleep(seconds)
        assert set(senders.statuses) <= {200, 201}, senders.statuses
        assert senders.new == len(senders.stored)
        assert_exact(running, senders)
        assert running.execute(deadlocks) == [(0,)]


def test_killed_workers_lose_nothing_that_was_answered(server: PostgresServer) -> None:
    with service(server) as running:
        with Senders(running, 6) as senders:
            for _ in range(4):
                time.sleep(1)
                os.kill(worker_pids(running)[0], signal.SIGKILL)
                wait_until("a new worker", lambda: len(worker_pids(running)) == 2)
        assert set(senders.statuses) <= {0, 200, 201, 503}, senders.statuses
        assert_exact(running, senders)


def test_a_killed_database_loses_nothing_that_was_answered(server: PostgresServer) -> None:
    with service(server) as running:
        with Senders(running, 6) as senders:
            for stop in (server.kill, lambda: server.stop(signal.SIGQUIT)):
                time.sleep(2)
                stop()
                time.sleep(1)
                server.start()
            wait_until("ingest's return", lambda: answers(running, senders))
        assert set(senders.statuses) <= {0, 200, 201, 503}, senders.statuses
        assert senders.statuses[503], "it was down for a while"
        assert_exact(running, senders)


def answers(running: Service, senders: Senders) -> bool:
    body = {"events": senders.events[:1]}
    answer = running.session().post(running.url + "/analytics/events/batch", json=body, timeout=10)
    return answer.status_code == 200


def test_a_stalled_database_is_answered_503_and_nothing_is_half_stored(
    server: PostgresServer,
) -> None:
    with service(server) as running:
        with Senders(running, 16) as senders:
            time.sleep(2)
            server.signal_all(signal.SIGSTOP)
            try:
                senders.slowest = 0.0
                time.sleep(6)
            finally:
                server.signal_all(signal.SIGCONT)
            refused, slowest = senders.statuses[503], senders.slowest
            wait_until("ingest's return", lambda: answers(running, senders))
            time.sleep(1)
        assert refused > 16
        # Who waited for the database's return would take six.
        assert slowest < PROMISED_SECONDS + BUSY_SECONDS
        assert set(senders.statuses) <= {200, 201, 503}, senders.statuses
        assert_exact(running, senders)


def test_a_locked_table_is_answered_503_with_retry_after(server: PostgresServer) -> None:
    with service(server) as running:
        lock = psycopg2.connect(server.url(running.database))
        lock.cursor().execute("LOCK TABLE counts IN ACCESS EXCLUSIVE MODE")
        event = {"event_type": "a", "user_id": 1}
        for path, body in (("", event), ("/batch", {"events": [event]})):
            answer = running.session().post(
                f"{running.url}/analytics/events{path}", json=body, timeout=10
            )
            assert answer.status_code == 503
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert int(answer.headers["Retry-After"]) >= 1
        lock.close()
        assert running.execute("SELECT count(*) FROM events") == [(0,)]
        assert running.session().post(f"{running.url}/analytics/events", json=event).ok


def test_reports_that_hold_all_their_connections_leave_ingest_alone(
    server: PostgresServer,
) -> None:
    slots = 2
    with service(server, REPORT_POOL_SIZE=str(slots), REPORT_TIMEOUT_MS="6000") as running:
        running.get("/analytics/saved-reports")
        holder = psycopg2.connect(server.url(running.database))
        with holder.cursor() as cursor:
            cursor.execute("LOCK TABLE saved_reports IN ACCESS EXCLUSIVE MODE")
            askers = [threading.Thread(target=ask_in_vain, args=(running,)) for _ in range(8)]
            for thread in askers:
                thread.start()
            wait_until("all connections to be waiting", lambda: waiting(running) >= slots)
            with Senders(running, 4) as senders:
                time.sleep(2)
        holder.close()
        for thread in askers:
            thread.join()
        assert set(senders.statuses) <= {200, 201}, senders.statuses
        assert len(senders.stored) > 100
        assert_exact(running, senders)


def ask_in_vain(running: Service) -> None:
    running.session().get(running.url + "/analytics/saved-reports", timeout=30)


def waiting(running: Service) -> int:
    """Returns how many reports wait for the locked table."""
    ((count,),) = running.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND application_name = 'footfall-reports'"
    )
    return int(str(count))
