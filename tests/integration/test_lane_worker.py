"""The lane under real gunicorn: on one connection answers keep their order, and none is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from http.client import parse_headers
from typing import Any

import pytest

from tests.integration.analytics_service import Service, service
from tests.servers import BUSY_SECONDS, PostgresServer, wait_until

PROMISED_SECONDS = 2.0  # for a database that says nothing


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Yields a PostgreSQL that these tests may stop."""
    with PostgresServer({}) as started:
        yield started


@pytest.fixture(scope="module")
def running(server: PostgresServer) -> Iterator[Service]:
    with service(server) as started:
        known_to_all_workers(started)
        yield started


def known_to_all_workers(started: Service) -> None:
    """Lets Flask see key and type in each worker: only then does the lane take its events."""
    for _ in range(40):
        answer = started.session().post(started.url + "/analytics/events", json=an_event())
        assert answer.status_code == 201


class Client:
    """One connection, and the requests that go over it."""

    def __init__(self, running: Service) -> None:
        self.key = running.key
        self.socket = socket.create_connection(
            ("127.0.0.1", running.stack.ports["analytics"]), timeout=20
        )
        self.stream = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def post(self, event: Any, more: str = "") -> bytes:
        """Returns the request that stores an event."""
        body = json.dumps(event).encode()
        return (
            f"POST /analytics/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def read(self) -> tuple[int, Any]:
        """Returns the status and the JSON of the next answer."""
        status = int(self.stream.readline().split()[1])
        headers = parse_headers(self.stream)
        return status, json.loads(self.stream.read(int(headers["Content-Length"])))

    def ask(self, request: bytes) -> tuple[int, Any]:
        self.socket.sendall(request)
        return self.read()


def an_event(**given: Any) -> dict[str, Any]:
    return {
        "event_id": str(uuid.uuid4()),
        "created_at": "2026-05-01T10:00:00Z",
        "event_type": "a",
        "user_id": 7,
        **given,
    }


def lane_count(running: Service) -> int:
    ((count,),) = running.execute("SELECT count(*) FROM events")
    return int(str(count))


def test_a_connection_may_mix_what_the_lane_takes_with_what_it_does_not(running: Service) -> None:
    with Client(running) as client:
        for _ in range(5):
            event = an_event()
            assert client.ask(client.post(event))[0] == 201
            assert client.ask(client.post(event))[0] == 200
            assert client.ask(client.post(an_event(event_type="no good")))[0] == 422
            status, found = client.ask(
                b"GET /analytics/events?limit=1 HTTP/1.1\r\nHost: x\r\n"
                b"Authorization: Bearer " + running.key.encode() + b"\r\n\r\n"
            )
            assert (status, len(found["items"])) == (200, 1)


def test_the_use_of_a_key_is_noted_beside_the_requests(running: Service) -> None:
    with Client(running) as client:
        assert client.ask(client.post(an_event()))[0] == 201
    used = "SELECT count(*) FROM api_keys WHERE last_used_at > now() - interval '2 minutes'"
    wait_until("the note of a use", lambda: running.execute(used) == [(1,)])


def test_a_request_in_pieces_is_answered_when_it_is_whole(running: Service) -> None:
    with Client(running) as client:
        event = an_event()
        request = client.post(event)
        for piece in (request[:20], request[20:150], request[150:-3], request[-3:]):
            client.socket.sendall(piece)
            time.sleep(0.1)
        status, found = client.read()
        assert (status, found["event_id"]) == (201, event["event_id"])


def test_a_client_that_hangs_up_halfway_takes_nothing_with_it(running: Service) -> None:
    before = lane_count(running)
    for cut in (1, 30, 120, -1):
        with Client(running) as client:
            client.socket.sendall(client.post(an_event())[:cut])
    with Client(running) as client:
        assert client.ask(client.post(an_event()))[0] == 201
    assert lane_count(running) == before + 1


def test_answers_to_requests_sent_ahead_keep_their_order(running: Service) -> None:
    with Client(running) as client:
        client.ask(client.post(an_event()))
        events = [an_event(event_type="no good" if n % 3 == 1 else "a") for n in range(12)]
        for each in events:  # one by one, so that the lane may take some of them
            client.socket.sendall(client.post(each, f"X-Request-ID: {each['event_id']}\r\n"))
            time.sleep(0.002)
        for each in events:
            status, found = client.read()
            name = found["event_id"] if status == 201 else found["request_id"]
            assert name == each["event_id"]


def test_a_stalled_database_is_503_within_two_seconds_for_all(
    server: PostgresServer, running: Service
) -> None:
    clients = [Client(running) for _ in range(40)]
    for client in clients:
        client.ask(client.post(an_event()))
    outcomes: list[tuple[int, float]] = []

    def send(client: Client, wait: float) -> None:
        time.sleep(wait)
        begun = time.monotonic()
        status, found = client.ask(client.post(an_event()))
        assert status == 201 or found["detail"] == "The database is not answering right now."
        outcomes.append((status, time.monotonic() - begun))

    threads = [threading.Thread(target=send, args=(each, n / 10)) for n, each in enumerate(clients)]
    server.signal_all(signal.SIGSTOP)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        server.signal_all(signal.SIGCONT)
    assert {status for status, _ in outcomes} == {503}
    assert len(outcomes) == len(clients)
    assert max(took for _, took in outcomes) < PROMISED_SECONDS + BUSY_SECONDS
    for client in clients:
        client.socket.close()
    wait_until("ingest's return", lambda: again(running))


def again(running: Service) -> bool:
    with Client(running) as client:
        return client.ask(client.post(an_event()))[0] == 201


def test_a_stopping_service_answers_what_it_has_taken(server: PostgresServer) -> None:
    with service(server) as running:
        known_to_all_workers(running)
        stored: list[str] = []
        stop = threading.Event()

        def send() -> None:
            with Client(running) as client:
                while not stop.is_set():
                    event = an_event()
                    try:
                        status, _ = client.ask(client.post(event))
                    except (OSError, IndexError):  # it has stopped before it took this one
                        return
                    assert status == 201
                    stored.append(event["event_id"])

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        wait_until("some events", lambda: len(stored) > 100)
        os.kill(running.stack.processes["analytics"].pid, signal.SIGTERM)
        assert running.stack.processes["analytics"].wait(15) == 0
        stop.set()
        for thread in threads:
            thread.join()
        found = {str(row[0]) for row in running.execute("SELECT event_id FROM events")}
        assert set(stored) <= found
        running.verify()
