"""Broken HTTP, straight at gunicorn and through the gateway: refused, and nobody else suffers."""

from __future__ import annotations

import hashlib
import secrets
import socket
import sqlite3
from collections.abc import Iterator

import pytest
import requests

from tests.chaos.tools import Missing, start_gateway
from tests.proof.broken_http import BROKEN, broken, odd_events, smuggled
from tests.servers import end, free_port
from tests.stack import APPS, Stack

# A path of each app that needs a signed-in caller.
PATHS = {"users": "/users", "analytics": "/analytics/events", "dashboard": "/settings"}
WAYS = ("straight at gunicorn", "through the gateway")
KEY = "ffk_" + secrets.token_urlsafe(32)
QUIET = {"LOG_LEVEL": "ERROR", "API_CALLS_PER_MINUTE": "0"}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(parts=APPS, settings=QUIET, threads=4) as running:
        add_key(running)
        yield running


@pytest.fixture(scope="module")
def plain(stack: Stack) -> Iterator[Stack]:
    """Yields the same analytics service again, without the fast path."""
    settings = {**stack.environment, "GUNICORN_CMD_ARGS": "--worker-class=gthread"}
    with Stack(parts=("analytics",), settings=settings) as running:
        yield running


def add_key(stack: Stack) -> None:
    """Puts a key into the database that may send and read events."""
    with sqlite3.connect(stack.home / "analytics.db") as database:
        database.execute(
            "INSERT INTO api_keys (name, scopes, digest, created_at) VALUES (?, ?, ?, ?)",
            ("test", "events:read events:write", hashlib.sha256(KEY.encode()).hexdigest(),
             "2026-01-01 00:00:00"),
        )  # fmt: skip


@pytest.fixture(scope="module")
def gateway(stack: Stack) -> Iterator[dict[str, int]]:
    ports = {app: free_port() for app in APPS}
    try:
        process = start_gateway(stack.home, {ports[app]: stack.ports[app] for app in APPS})
    except Missing as reason:
        pytest.skip(str(reason))
    yield ports
    end(process)


@pytest.fixture(params=[(app, way) for app in APPS for way in WAYS], ids=" ".join)
def target(request: pytest.FixtureRequest, stack: Stack) -> Iterator[tuple[str, int]]:
    """Yields an app and its port; afterwards the app must still answer."""
    app, way = request.param
    ports = stack.ports if way == WAYS[0] else request.getfixturevalue("gateway")
    yield app, ports[app]
    still_answers(ports[app])


def still_answers(port: int) -> None:
    answer = requests.get(f"http://127.0.0.1:{port}/health/live", timeout=10)
    assert answer.status_code == 200


def answer_to(port: int, sent: bytes) -> bytes:
    """Returns all that comes back, until the other side closes or has no more to say."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                got += piece
        except OSError:
            pass  # it may refuse to listen any longer
    return got


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("name", BROKEN)
def test_broken_http_is_refused_or_cut_off_and_never_a_server_error(
    target: tuple[str, int], name: str
) -> None:
    app, port = target
    answer = answer_to(port, broken(PATHS[app])[name])
    assert all(status < 500 for status in statuses(answer)), answer[:300]
    assert all(not 200 <= status < 300 for status in statuses(answer)), answer[:300]


def test_a_request_hidden_in_another_ones_body_is_not_answered(target: tuple[str, int]) -> None:
    app, port = target
    answer = answer_to(port, smuggled(PATHS[app]))
    assert b'"status":"ok"' not in answer.replace(b" ", b"")


@pytest.mark.parametrize("app", APPS)
def test_a_head_over_32_kb_is_refused_before_its_end(stack: Stack, app: str) -> None:
    fields = b"".join(b"X-%d: " % n + b"a" * 4000 + b"\r\n" for n in range(11))
    with socket.create_connection(("127.0.0.1", stack.ports[app]), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n" + fields)
        assert connection.recv(100).startswith(b"HTTP/1.1 431")


def test_after_all_of_it_the_service_answers_as_before(target: tuple[str, int]) -> None:
    app, port = target
    for sent in broken(PATHS[app]).values():
        answer_to(port, sent)
    answer = requests.get(f"http://127.0.0.1:{port}/health", timeout=10)
    assert answer.json()["status"] in ("ok", "degraded")


@pytest.mark.parametrize("name", odd_events(KEY))
def test_the_fast_path_answers_what_flask_answers(stack: Stack, plain: Stack, name: str) -> None:
    port = stack.ports["analytics"]
    known(stack)
    fast = statuses(answer_to(port, odd_events(KEY)[name]))
    slow = statuses(answer_to(plain.ports["analytics"], odd_events(KEY)[name]))
    assert fast == slow
    assert all(status < 500 for status in fast)
    still_answers(port)


def known(stack: Stack) -> None:
    """Lets Flask see the key: only then does the fast path take its events."""
    url = stack.analytics_url + "/analytics/events?limit=1"
    answer = requests.get(url, headers={"Authorization": f"Bearer {KEY}"}, timeout=10)
    assert answer.status_code == 200
