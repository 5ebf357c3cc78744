"""Broken HTTP, straight at gunicorn and through the gateway: refused, and nobody else suffers."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import requests

from tests.chaos.tools import Missing, start_gateway
from tests.servers import end, free_port
from tests.stack import Stack

HOST = b"Host: x\r\n"
JSON = HOST + b"Content-Type: application/json\r\n"
BROKEN = {
    "nothing but line ends": b"\r\n\r\n\r\n",
    "noise": bytes(range(256)) * 4,
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /users\r\n\r\n",
    "a version to come": b"GET /users HTTP/9.9\r\n" + HOST + b"\r\n",
    "a method that is none": b"G\x00T /users HTTP/1.1\r\n" + HOST + b"\r\n",
    "a made-up method": b"FROBNICATE /users HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in the address": b"GET /users\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "bytes above ASCII in the address": b"GET /users/\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n",
    "broken percent signs": b"GET /users/%zz%00%c0%af HTTP/1.1\r\n" + HOST + b"\r\n",
    "dots that climb": b"GET /../../../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n",
    "an address of 60 kB": b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a header of 100 kB": b"GET /users HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "a thousand headers": b"GET /users HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
    "a header without a name": b"GET /users HTTP/1.1\r\n: x\r\n" + HOST + b"\r\n",
    "a folded header": b"GET /users HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
    "a space before the colon": b"POST /users HTTP/1.1\r\nContent-Length : 5\r\n" + HOST + b"\r\n",
    "NUL in a header": b"GET /users HTTP/1.1\r\nX: a\x00b\r\n" + HOST + b"\r\n",
    "two hosts": b"GET /users HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a length that is none": b"POST /users HTTP/1.1\r\nContent-Length: -1\r\n" + JSON + b"\r\n{}",
    "a length in hex": b"POST /users HTTP/1.1\r\nContent-Length: 0x2\r\n" + JSON + b"\r\n{}",
    "a length beyond all": b"POST /users HTTP/1.1\r\nContent-Length: " + b"9" * 40 + b"\r\n\r\n",
    "two lengths": b"POST /users HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n"
    + JSON
    + b"\r\n{} ",
    "a length and chunks": b"POST /users HTTP/1.1\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n" + JSON + b"\r\n0\r\n\r\n",
    "chunked twice": b"POST /users HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n"
    + JSON
    + b"\r\n0\r\n\r\n",
    "an encoding nobody knows": b"POST /users HTTP/1.1\r\nTransfer-Encoding: x\r\n"
    + JSON
    + b"\r\n",
    "a chunk size that is none": b"POST /users HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    + JSON
    + b"\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a chunk size beyond all": b"POST /users HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
    + JSON
    + b"\r\n"
    + b"f" * 40
    + b"\r\n{}",
    "half a body": b"POST /users HTTP/1.1\r\nContent-Length: 100\r\n" + JSON + b"\r\n{",
    "half a header": b"GET /users HTTP/1.1\r\nHost: x\r\nX-Half",
}
# What would be smuggled past a proxy that reads the lengths otherwise.
SMUGGLED = (
    b"POST /users HTTP/1.1\r\n" + JSON + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"0\r\n\r\nGET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"
)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(parts=("users",), settings={"LOG_LEVEL": "ERROR"}, threads=4) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(stack: Stack) -> Iterator[int]:
    port = free_port()
    try:
        process = start_gateway(stack.home, {port: stack.ports["users"]})
    except Missing as reason:
        pytest.skip(str(reason))
    yield port
    end(process)


@pytest.fixture(params=["straight at gunicorn", "through the gateway"])
def port(request: pytest.FixtureRequest, stack: Stack) -> int:
    if request.param == "straight at gunicorn":
        return stack.ports["users"]
    behind: int = request.getfixturevalue("gateway")
    return behind


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
def test_broken_http_is_refused_or_cut_off_and_never_a_server_error(port: int, name: str) -> None:
    answer = answer_to(port, BROKEN[name])
    assert all(status < 500 for status in statuses(answer)), answer[:300]
    assert all(not 200 <= status < 300 for status in statuses(answer)), answer[:300]


def test_a_request_hidden_in_another_ones_body_is_not_answered(port: int) -> None:
    answer = answer_to(port, SMUGGLED)
    assert b'"status":"ok"' not in answer.replace(b" ", b"")


def test_after_all_of_it_the_service_answers_as_before(port: int) -> None:
    for sent in BROKEN.values():
        answer_to(port, sent)
    answer = requests.get(f"http://127.0.0.1:{port}/health", timeout=10)
    assert answer.json()["status"] == "ok"
