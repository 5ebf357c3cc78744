"""Refused before the body was read: the refusal arrives, and no rest becomes a request."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import requests

from tests.operations.gateway import Gateway
from tests.stack import Stack

HIDDEN = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = HIDDEN * 40_000  # 1.6 MB: no buffer on the way holds it
JSON = "Content-Type: application/json\r\n"
REFUSED = [
    ("POST /login", JSON, 413),
    ("POST /login", JSON + "Expect: 100-continue\r\n", 413),
    ("POST /token", "Content-Type: application/x-www-form-urlencoded\r\n", 413),
    ("POST /login", "Content-Type: text/plain\r\n", 415),
    ("PATCH /users/me", JSON, 401),
    ("GET /users/me", "", 401),
    ("POST /nowhere", JSON, 404),
    ("PUT /login", JSON, 405),
    ("BREW /login", "", 405),
    ("POST /logout", JSON + "Authorization: Bearer nonsense\r\n", 401),
]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(parts=("users",), threads=4) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(stack: Stack) -> Iterator[Gateway]:
    with TemporaryDirectory(prefix="footfall-gateway-") as made:
        folder = Path(made)
        folder.chmod(0o755)  # started by root, nginx keeps long bodies as another user
        with Gateway(stack.ports["users"], folder) as running:
            yield running


def chunked(body: bytes) -> bytes:
    size = 50_000
    parts = [body[n : n + size] for n in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def answers(port: int, request: bytes) -> list[HTTPResponse]:
    """Sends everything, and only then reads every answer until the other side closes."""
    found = []
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as stream:
            while stream.peek(1):
                found.append(one(stream))
    return [each for each in found if each.status != 100]


class Held:
    """A stream that answers are read from one after the other."""

    def __init__(self, stream: object) -> None:
        self.stream = stream

    def makefile(self, *_: object) -> object:
        return self.stream


def one(stream: object) -> HTTPResponse:
    answer = HTTPResponse(Held(stream))  # type: ignore[arg-type]
    answer._close_conn = lambda: None  # type: ignore[method-assign,attr-defined]
    answer.begin()
    answer.read()
    answer.fp = None  # type: ignore[assignment]  # it closes what was read from, when it goes
    return answer


@pytest.mark.parametrize(("line", "fields", "status"), REFUSED)
@pytest.mark.parametrize("way", ["a length", "chunks"])
def test_a_refusal_arrives_and_closes_openly(
    stack: Stack, line: str, fields: str, status: int, way: str
) -> None:
    length = f"Content-Length: {len(LARGE)}" if way == "a length" else "Transfer-Encoding: chunked"
    body = LARGE if way == "a length" else chunked(LARGE)
    head = f"{line} HTTP/1.1\r\nHost: x\r\n{fields}{length}\r\n\r\n".encode()
    (answer,) = answers(stack.ports["users"], head + body)
    assert (answer.status, answer.getheader("Connection")) == (status, "close")


def test_a_limit_on_calls_closes_openly_too() -> None:
    with Stack(parts=("users",), settings={"API_CALLS_PER_MINUTE": "2"}) as running:
        for _ in range(3):
            requests.get(running.users_url + "/users/me", timeout=10)
        head = f"POST /login HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: {len(LARGE)}\r\n\r\n"
        (answer,) = answers(running.ports["users"], head.encode() + LARGE)
        assert (answer.status, answer.getheader("Connection")) == (429, "close")


def test_a_short_rest_is_read_and_the_connection_kept(stack: Stack) -> None:
    refused = (
        f"PATCH /users/me HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: {len(HIDDEN)}\r\n\r\n"
    ).encode() + HIDDEN
    last = b"GET /docs.css HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    found = answers(stack.ports["users"], HIDDEN + refused * 2 + HIDDEN + last)
    assert [each.status for each in found] == [200, 401, 401, 200, 200]
    assert [each.getheader("Connection") for each in found] == ["keep-alive"] * 4 + ["close"]


def test_a_rest_that_does_not_come_is_not_waited_for(stack: Stack) -> None:
    head = f"PATCH /users/me HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: 10\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", stack.ports["users"]), timeout=2) as connection:
        connection.sendall(head)
        with connection.makefile("rb") as stream:
            answer = one(stream)
            assert (answer.status, answer.getheader("Connection")) == (401, "close")
            assert stream.read() == b"", "it has closed its end"


def test_a_client_library_reads_the_refusal_and_goes_on(stack: Stack) -> None:
    body = {"username": "x" * 3_000_000}
    with requests.Session() as session:
        for _ in range(3):
            refused = session.post(stack.users_url + "/login", json=body, timeout=20)
            assert refused.status_code == 413
            assert session.get(stack.users_url + "/health/live", timeout=10).status_code == 200


def test_who_is_still_sending_is_heard_out(stack: Stack) -> None:
    body = b"x" * 30_000_000  # more than the buffers on the way hold
    head = f"POST /login HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: {len(body)}\r\n\r\n"
    (answer,) = answers(stack.ports["users"], head.encode() + body)
    assert (answer.status, answer.getheader("Connection")) == (413, "close")


def test_through_the_gateway_the_refusal_arrives_whole(gateway: Gateway) -> None:
    for size, status in ((100_000, 413), (5_000_000, 413), (7_000_000, 413)):
        connection = HTTPConnection("127.0.0.1", gateway.port, timeout=20)
        headers = {"Content-Type": "application/json"}
        with suppress(BrokenPipeError, ConnectionResetError):  # nginx need not read it all
            connection.request("POST", "/login", b"x" * size, headers)
        answer = connection.getresponse()
        assert answer.status == status
        assert b"over the limit" in answer.read()
        if size > 6 * 1024 * 1024:
            assert answer.getheader("Connection") == "close"
        connection.request("GET", "/health/live")
        assert connection.getresponse().status == 200
        connection.close()


@pytest.mark.parametrize(("line", "fields", "status"), REFUSED)
def test_through_the_gateway_nothing_hidden_is_answered(
    gateway: Gateway, line: str, fields: str, status: int
) -> None:
    head = f"{line} HTTP/1.1\r\nHost: x\r\n{fields}Connection: close\r\n"
    request = f"{head}Content-Length: {len(LARGE)}\r\n\r\n".encode() + LARGE
    (answer,) = answers(gateway.port, request)
    assert answer.status == status
