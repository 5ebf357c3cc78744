"""What gunicorn does with clients that linger, with several workers, and with long bodies."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from http.client import HTTPResponse

import pytest
import requests

from tests.stack import Stack

JWKS = "/.well-known/jwks.json"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(parts=("users",), workers=2, threads=4) as running:
        yield running


def connection(stack: Stack) -> socket.socket:
    return socket.create_connection(("127.0.0.1", stack.ports["users"]), timeout=10)


def test_metrics_are_right_over_all_workers(stack: Stack) -> None:
    for _ in range(40):
        requests.get(stack.users_url + JWKS, timeout=5)
    counted = set()
    for _ in range(10):
        text = requests.get(stack.users_url + "/metrics", timeout=5).text
        line = re.search(
            r'duration_seconds_count\{method="GET",status="200",url_rule="/.well-known/jwks.json"\}'
            r" ([\d.]+)", text,
        )  # fmt: skip
        assert line
        counted.add(float(line[1]))
    assert counted == {40.0}


def test_no_control_socket_is_made(stack: Stack) -> None:
    assert not (stack.home / ".gunicorn").exists()


def test_clients_that_keep_a_closed_connection_open_stall_nobody(stack: Stack) -> None:
    request = f"GET {JWKS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    lingering = [connection(stack) for _ in range(20)]
    for each in lingering:
        each.sendall(request)
    for each in lingering:
        assert each.recv(65536).startswith(b"HTTP/1.1 200")
    # Without the cure each of them holds its worker's main loop for 2 s.
    for _ in range(4):
        assert requests.get(stack.users_url + "/health/live", timeout=4).ok
    for each in lingering:
        each.close()


def test_a_chunked_body_over_the_limit_is_413(stack: Stack) -> None:
    with connection(stack) as client:
        client.sendall(
            b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        try:
            for _ in range(40):
                client.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
            client.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may close before it has read all that it refuses
        assert b"413" in client.recv(65536).split(b"\r\n")[0]


@pytest.mark.parametrize(
    "header", ["Authorization: , ,", "Authorization: Bearer", "Authorization: \xff"]
)
def test_an_odd_authorization_header_is_401(stack: Stack, header: str) -> None:
    with connection(stack) as client:
        client.sendall(
            f"GET /users/me HTTP/1.1\r\nHost: x\r\n{header}\r\nConnection: close\r\n\r\n".encode(
                "latin-1"
            )
        )
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"WWW-Authenticate: Bearer" in answer


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    ],
)
def test_what_gunicorn_itself_refuses_is_a_problem_too(
    stack: Stack, sent: bytes, status: int
) -> None:
    with connection(stack) as opened:
        opened.sendall(sent)
        answer = HTTPResponse(opened)
        answer.begin()
        problem = json.loads(answer.read())
    assert (answer.status, problem["status"]) == (status, status)
    assert answer.getheader("Content-Type") == "application/problem+json"
    assert {"type", "title", "detail", "request_id"} <= set(problem)
