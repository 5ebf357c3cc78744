"""The list of ended sessions: followed, kept while it can't be had, each process's own."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from flask import Flask

from chassis.auth import Caller
from chassis.errors import Unauthenticated, Unavailable
from chassis.revocation import FIRST_WAIT_SECONDS, PATH, RevocationList, digest
from chassis.standing import RemoteStanding
from tests.servers import BUSY_SECONDS, free_port, wait_until

SECOND = 1_790_000_000
OF_SECOND = "2026-09-21T14:13:20Z"


class Publisher:
    """A users service of one page, whose answer a test chooses."""

    def __init__(self) -> None:
        self.status = 200
        self.tags = True
        self.location = ""
        self.revoked: dict[str, str | None] = {}
        self.others: str | None = None
        self.body: bytes | None = None
        self.seen: list[dict[str, str]] = []
        self.followers: list[RevocationList] = []
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                publisher.seen.append({"path": self.path, **dict(self.headers)})
                body = publisher.page() if publisher.body is None else publisher.body
                etag = f'W/"{hash(body)}"'
                known = self.headers.get("If-None-Match") == etag and publisher.status == 200
                self.send_response(304 if known else publisher.status)
                if publisher.tags:
                    self.send_header("ETag", etag)
                if publisher.location:
                    self.send_header("Location", publisher.location)
                self.send_header("Content-Length", "0" if known else str(len(body)))
                self.end_headers()
                if not known:
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def page(self) -> bytes:
        named = [
            {"sid_sha256": digest(sid), "issued_before": before}
            for sid, before in self.revoked.items()
        ]
        return json.dumps({"issued_before": self.others, "sessions": named}).encode()


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    made = Publisher()
    yield made
    for each in made.followers:
        each.interval = 3600  # its thread rests for the rest of the tests
    made.server.shutdown()
    made.server.server_close()


def followed(publisher: Publisher) -> RevocationList:
    publisher.followers.append(RevocationList(publisher.url, interval=0.02))
    return publisher.followers[-1]


def test_a_session_is_revoked_for_good_or_up_to_a_second(publisher: Publisher) -> None:
    publisher.revoked = {"1": None, "2": OF_SECOND}
    found = followed(publisher)
    assert found.revokes("1", 2**40)
    assert found.revokes("2", SECOND - 1)
    assert not found.revokes("2", SECOND)
    assert not found.revokes("3", 0)


def test_where_not_all_are_listed_a_second_stands_for_the_others(publisher: Publisher) -> None:
    publisher.revoked, publisher.others = {"1": None, "2": "2026-01-01T00:00:00Z"}, OF_SECOND
    found = followed(publisher)
    assert found.revokes("1", SECOND)
    for each in ("2", "3"):
        assert found.revokes(each, SECOND - 1)
        assert not found.revokes(each, SECOND)


def test_what_ends_later_is_heard_of_and_what_is_over_forgotten(publisher: Publisher) -> None:
    found = followed(publisher)
    assert not found.revokes("1", SECOND)
    publisher.revoked = {"1": None}
    wait_until("the list", lambda: found.revokes("1", SECOND), 10)
    publisher.revoked = {}
    wait_until("the next list", lambda: not found.revokes("1", SECOND), 10)


def test_an_unchanged_list_is_not_sent_again(publisher: Publisher) -> None:
    found = followed(publisher)
    found.revokes("1", SECOND)
    wait_until("more rounds", lambda: len(publisher.seen) > 3, 10)
    assert publisher.seen[0]["path"] == "/.well-known/revoked"
    assert "If-None-Match" not in publisher.seen[0]
    assert publisher.seen[2]["If-None-Match"].startswith('W/"')


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b""), (404, b'{"sessions": []}'), (302, b'{"sessions": []}'), (200, b"<html>"),
     (200, b"[]"), (200, b'{"sessions": [1]}'), (200, b'{"sessions": [{"sid_sha256": "x"}]}'),
     (200, b'{"sessions": [{"sid_sha256": "x", "issued_before": "soon"}]}')],
)  # fmt: skip
def test_the_last_list_holds_while_none_can_be_had(
    publisher: Publisher, status: int, body: bytes
) -> None:
    publisher.revoked = {"1": None}
    found = followed(publisher)
    assert found.revokes("1", SECOND)
    publisher.status, publisher.body = status, body
    asked = len(publisher.seen)
    wait_until("more rounds", lambda: len(publisher.seen) > asked + 3, 10)
    assert found.revokes("1", SECOND)
    found.check()
    found.fetched -= 11
    with pytest.raises(Unavailable):
        found.check()
    publisher.status, publisher.body = 200, None
    wait_until("a list", lambda: found.fetched > time.monotonic() - 1, 10)
    found.check()


def test_a_304_to_who_holds_no_list_is_none(publisher: Publisher) -> None:
    publisher.status = 304
    assert not RevocationList(publisher.url).refresh()
    found = followed(publisher)
    with pytest.raises(Unavailable):
        found.revokes("1", SECOND)
    with pytest.raises(Unavailable):
        found.check()
    publisher.status, publisher.revoked = 200, {"1": None}
    wait_until("a list", lambda: knows(found, "1"), 10)


def test_a_list_without_an_etag_is_asked_for_as_if_none_were_held(publisher: Publisher) -> None:
    publisher.tags, publisher.revoked = False, {"1": None}
    found = followed(publisher)
    assert found.revokes("1", SECOND)
    wait_until("more rounds", lambda: len(publisher.seen) > 3, 10)
    assert not any("If-None-Match" in each for each in publisher.seen)


def test_a_process_that_never_had_a_list_knows_nothing_and_soon_says_so() -> None:
    found = RevocationList(f"http://127.0.0.1:{free_port()}", interval=60)
    begun = time.monotonic()
    for _ in range(20):
        with pytest.raises(Unavailable):
            found.revokes("1", SECOND)
    # The first waits for an answer; the others don't wait one after the other.
    assert time.monotonic() - begun < FIRST_WAIT_SECONDS + BUSY_SECONDS
    with pytest.raises(Unavailable):
        found.check()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_follows_by_itself(publisher: Publisher) -> None:
    found = followed(publisher)
    assert not found.revokes("1", SECOND)
    publisher.revoked = {"1": None}
    wait_until("the list", lambda: found.revokes("1", SECOND), 10)
    publisher.status = 500
    child = os.fork()
    if child == 0:
        try:
            assert not knows(found, "1"), "the parent's list is of no known age"
            wait_until("the child's list", lambda: knows(found, "2"), 10)
            os._exit(0)
        finally:
            os._exit(1)
    time.sleep(0.5)
    publisher.status, publisher.revoked = 200, {"2": None}
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def knows(found: RevocationList, session_id: str) -> bool:
    try:
        return found.revokes(session_id, SECOND)
    except Unavailable:
        return False


def test_the_machines_proxy_is_not_asked(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    publisher.revoked = {"1": None}
    assert followed(publisher).revokes("1", math.floor(time.time()))


def test_a_redirect_is_not_followed(publisher: Publisher) -> None:
    publisher.status, publisher.location = 302, f"{publisher.url}/elsewhere"
    with pytest.raises(Unavailable):
        followed(publisher).revokes("1", SECOND)
    assert {each["path"] for each in publisher.seen} == {PATH}


ADMIN = Caller("user", "1", frozenset(), 1, "admin", "7")


def confirm(publisher: Publisher) -> None:
    app = Flask(__name__)
    with app.test_request_context(headers={"Authorization": "bearer a.b.c"}):
        RemoteStanding(publisher.url).confirm(ADMIN)


def test_who_still_has_session_and_role_is_confirmed(publisher: Publisher) -> None:
    publisher.body = b'{"id": 1, "role": "admin"}'
    confirm(publisher)
    (asked,) = publisher.seen
    assert (asked["path"], asked["Authorization"]) == ("/users/me", "Bearer a.b.c")


@pytest.mark.parametrize(("status", "body"), [(200, b'{"role": "viewer"}'), (401, b"{}")])
def test_who_has_not_is_refused(publisher: Publisher, status: int, body: bytes) -> None:
    publisher.status, publisher.body = status, body
    with pytest.raises(Unauthenticated):
        confirm(publisher)


@pytest.mark.parametrize(
    ("status", "body"),
    [(403, b"{}"), (404, b"{}"), (429, b"{}"), (500, b"{}"), (302, b""), (200, b"<html>"),
     (200, b"[]"), (200, b"{}"), (200, b"1")],
)  # fmt: skip
def test_what_can_not_be_known_is_unavailable(
    publisher: Publisher, status: int, body: bytes
) -> None:
    publisher.status, publisher.body = status, body
    with pytest.raises(Unavailable):
        confirm(publisher)
