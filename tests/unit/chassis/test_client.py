"""Calls to another service: bounded, retried where safe, quick to give up."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from flask import Flask, g

from chassis.client import FAILURES_TO_OPEN, ApiClient, Refused
from chassis.errors import Unavailable
from tests.servers import free_port

Answer = tuple[int, str]


class Peer:
    """A real HTTP server whose next answers a test chooses; it keeps what it was sent."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                peer.seen.append((self.command, self.path, dict(self.headers)))
                status, body = peer.answers.pop(0) if peer.answers else (200, "{}")
                if status == 0:
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            do_GET = do_POST = answer

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def client(peer: Peer) -> ApiClient:
    return ApiClient(peer.url, "peer", timeout=(0.5, 0.5))


def test_a_get_is_tried_again_when_the_connection_breaks(peer: Peer, client: ApiClient) -> None:
    peer.answers = [(0, ""), (200, '{"a": 1}')]
    assert client.call("GET", "/x").json() == {"a": 1}
    assert len(peer.seen) == 2


def test_a_post_is_never_tried_again(peer: Peer, client: ApiClient) -> None:
    peer.answers = [(0, ""), (200, "{}")]
    with pytest.raises(Unavailable):
        client.call("POST", "/x", json={})
    assert len(peer.seen) == 1


def test_a_refusal_carries_the_problem(peer: Peer, client: ApiClient) -> None:
    peer.answers = [(422, '{"detail": "no", "errors": [{"field": "a", "message": "is required"}]}')]
    with pytest.raises(Refused) as caught:
        client.call("POST", "/x", json={})
    assert caught.value.status == 422
    assert caught.value.field_errors == {"a": "is required"}


@pytest.mark.parametrize("body", ["", "<html>", "[1]"])
def test_an_error_without_a_problem_document_is_still_an_error(
    peer: Peer, client: ApiClient, body: str
) -> None:
    peer.answers = [(500, body)]
    with pytest.raises(Unavailable):
        client.call("POST", "/x")


def test_a_service_that_keeps_failing_is_left_alone_for_a_while(
    peer: Peer, client: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.answers = [(503, "")] * FAILURES_TO_OPEN
    for _ in range(FAILURES_TO_OPEN + 3):
        with pytest.raises(Unavailable):
            client.call("POST", "/x")
    assert len(peer.seen) == FAILURES_TO_OPEN
    monkeypatch.setattr(client.questions["POST /x"], "retry_at", 0.0)
    assert client.call("POST", "/x").status_code == 200


def test_a_question_that_is_too_much_closes_no_other(peer: Peer, client: ApiClient) -> None:
    peer.answers = [(503, "")] * FAILURES_TO_OPEN
    for number in range(FAILURES_TO_OPEN + 3):
        with pytest.raises(Unavailable):
            client.call("POST", f"/export/{number}")
    assert len(peer.seen) == FAILURES_TO_OPEN
    assert client.call("POST", "/x").status_code == 200
    assert client.call("GET", "/export/1").status_code == 200
    assert len(client.questions) == 3


def test_nobody_listening_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="users service is not answering"):
        ApiClient(f"http://127.0.0.1:{free_port()}", "users").call("GET", "/x")


def test_the_request_id_goes_along(peer: Peer, client: ApiClient) -> None:
    app = Flask(__name__)
    with app.test_request_context():
        g.request_id = "trace-9"
        client.call("GET", "/x", token="t")
    headers = peer.seen[0][2]
    assert headers["X-Request-ID"] == "trace-9"
    assert headers["Authorization"] == "Bearer t"


def test_a_redirect_is_not_followed(peer: Peer, client: ApiClient) -> None:
    peer.answers = [(302, "")]
    assert client.call("GET", "/x").status_code == 302
    assert len(peer.seen) == 1
