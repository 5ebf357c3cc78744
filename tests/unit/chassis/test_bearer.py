"""Whom a bearer credential names, for how long that is believed, and where keys come from."""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Iterator
from queue import Queue
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from jwt.algorithms import ECAlgorithm

from chassis import bearer
from chassis.auth import Caller
from chassis.bearer import BearerAuthenticator, RemoteKeys
from chassis.config import MAX_CLOCK_DIFFERENCE_SECONDS
from chassis.errors import Unauthenticated, Unavailable
from tests.servers import free_port
from tests.stand_ins import replace_in
from tests.unit.chassis.test_revocation import Publisher

KEY = ec.generate_private_key(ec.SECP256R1())


class Clocks:
    """Both clocks of the module, stopped at the present until a test moves them on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = float(int(time.time()))
        replace_in(monkeypatch, time, "chassis.bearer", time=self.read, monotonic=self.read)

    def read(self) -> float:
        return self.now


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


@pytest.fixture
def published() -> Iterator[Publisher]:
    """Yields a users service that publishes keys."""
    made = Publisher()
    yield made
    made.server.shutdown()
    made.server.server_close()


def publish(service: Publisher, *kids: str) -> None:
    jwk = ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
    service.body = json.dumps({"keys": [{**jwk, "kid": kid} for kid in kids]}).encode()


def test_keys_are_asked_for_once_and_a_withdrawn_one_is_dead_after_five_minutes(
    published: Publisher, clocks: Clocks
) -> None:
    publish(published, "one", "two")
    keys = RemoteKeys(published.url)
    for _ in range(3):
        assert keys.key("one") is not None
        assert keys.key("two") is not None
    publish(published, "two")
    clocks.now += 300
    assert keys.key("one") is not None
    assert len(published.seen) == 1
    clocks.now += 1
    assert keys.key("one") is None
    assert keys.key("two") is not None
    assert len(published.seen) == 2


def test_unknown_keys_ask_again_once_in_five_seconds_however_many_there_are(
    published: Publisher, clocks: Clocks
) -> None:
    publish(published, "one")
    keys = RemoteKeys(published.url)
    assert [keys.key(f"made up {number}") for number in range(100)] == [None] * 100
    assert len(published.seen) == 1
    publish(published, "one", "new")
    clocks.now += 4.9
    assert keys.key("new") is None
    clocks.now += 0.1
    assert keys.key("new") is not None
    assert len(published.seen) == 2


@pytest.mark.parametrize(
    ("status", "body"), [(500, None), (200, b"nonsense"), (200, b'{"keys": []}'), (200, b"{}")]
)
def test_the_last_keys_are_kept_while_no_others_can_be_had(
    published: Publisher, clocks: Clocks, status: int, body: bytes | None
) -> None:
    publish(published, "one")
    keys = RemoteKeys(published.url)
    assert keys.key("one") is not None
    publish(published, "two")
    published.status, published.body = status, body if body is not None else published.body
    clocks.now += 1000
    assert keys.key("one") is not None
    assert len(published.seen) == 2


def test_without_any_key_nobody_can_be_checked_and_it_is_soon_tried_again(
    published: Publisher, clocks: Clocks
) -> None:
    published.status, published.body = 503, b"{}"
    keys = RemoteKeys(published.url)
    for tries in (1, 1, 2):
        with pytest.raises(Unavailable):
            keys.key("one")
        assert len(published.seen) == tries
        clocks.now += 0.25
    published.status = 200
    publish(published, "one")
    clocks.now += 0.25
    assert keys.key("one") is not None


def test_neither_a_proxy_nor_a_redirect_says_what_the_keys_are(
    published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    publish(published, "one")
    assert RemoteKeys(published.url).key("one") is not None
    published.status, published.location = 302, f"{published.url}/elsewhere"
    with pytest.raises(Unavailable):
        RemoteKeys(published.url).key("one")
    assert [each["path"] for each in published.seen] == ["/", "/"]


def test_a_service_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        RemoteKeys(f"http://127.0.0.1:{free_port()}").key("one")


def test_a_service_that_never_answers_is_not_waited_for_for_ever() -> None:
    said = Queue[Exception]()

    def ask(url: str) -> None:
        try:
            RemoteKeys(url).key("one")
        except Unavailable as unavailable:
            said.put(unavailable)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        Thread(target=ask, args=(url,), daemon=True).start()
        assert said.get(timeout=30)


class Source:
    """Knows one key, and counts how often it is asked."""

    asked = 0

    def key(self, kid: str) -> Any | None:
        self.asked += 1
        return KEY.public_key() if kid == "one" else None


class Gate:
    """The authenticator of an app, and what it says to a header."""

    def __init__(self) -> None:
        self.app, self.source = Flask(__name__), Source()
        self.authenticate = BearerAuthenticator(
            self.app, audience="example", issuer="footfall", keys=self.source
        )

    def caller(self, token: str) -> Caller | None:
        headers = {"Authorization": f"Bearer {token}"}
        with self.app.test_request_context(headers=headers):
            return self.authenticate()

    def refuses(self, token: str) -> bool:
        try:
            self.caller(token)
        except Unauthenticated:
            return True
        return False


class Ended:
    """Knows of one change, at a second by the users service's clock."""

    def __init__(self, second: int) -> None:
        self.second = second

    def revokes(self, _session_id: str, issued_at: int) -> bool:
        return issued_at < self.second

    def confirm(self, caller: Caller) -> None:
        raise NotImplementedError

    def check(self) -> None:
        raise NotImplementedError


@pytest.fixture
def gate() -> Gate:
    return Gate()


def token(clocks: Clocks, **changed: Any) -> str:
    """Returns a user's token; a claim given as None is left out."""
    claims = {
        "iss": "footfall", "aud": ["example"], "sub": "7", "sid": "s", "type": "access",
        "role": "viewer", "scope": "read", "jti": uuid.uuid4().hex, "iat": int(clocks.now),
        "exp": int(clocks.now) + 900, **changed,
    }  # fmt: skip
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, KEY, algorithm="ES256", headers={"kid": "one"})


def test_who_shows_nothing_is_nobody_and_who_shows_nonsense_is_refused(gate: Gate) -> None:
    with gate.app.test_request_context():
        assert gate.authenticate() is None
    for header in ("", "Bearer", "Bearer ", "Basic YTpi", "Bearer é", "x"):
        with (
            gate.app.test_request_context(headers={"Authorization": header}),
            pytest.raises(Unauthenticated) as refusal,
        ):
            gate.authenticate()
        assert refusal.value.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_a_good_token_under_another_scheme_is_refused(gate: Gate, clocks: Clocks) -> None:
    sent = token(clocks)
    for header in (f"Basic {sent}", f"Token {sent}", sent):
        with (
            gate.app.test_request_context(headers={"Authorization": header}),
            pytest.raises(Unauthenticated, match="must be: Bearer"),
        ):
            gate.authenticate()


def test_a_token_is_verified_once_a_minute(gate: Gate, clocks: Clocks) -> None:
    sent = token(clocks)
    for _ in range(5):
        assert gate.caller(sent) == Caller("user", "7", frozenset({"read"}), 7, "viewer", "s")
    assert gate.source.asked == 1
    clocks.now += 59
    gate.caller(sent)
    assert gate.source.asked == 1
    clocks.now += 1
    gate.caller(sent)
    assert gate.source.asked == 2


def test_what_was_verified_is_not_believed_beyond_the_tokens_own_end(
    gate: Gate, clocks: Clocks
) -> None:
    sent = token(clocks, exp=int(clocks.now) + 10)
    assert gate.caller(sent)
    clocks.now += 10 + MAX_CLOCK_DIFFERENCE_SECONDS - 1
    assert gate.authenticate.known(f"Bearer {sent}"), "clocks may differ"
    clocks.now += 1
    assert gate.authenticate.known(f"Bearer {sent}") is None
    gate.caller(sent)
    assert gate.source.asked == 2, "looked at anew"


def test_a_verified_token_is_refused_in_the_second_minute_when_its_key_is_gone(
    gate: Gate, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = token(clocks)
    assert gate.caller(sent)
    monkeypatch.setattr(gate.source, "key", lambda _kid: None)
    clocks.now += 60
    with pytest.raises(Unauthenticated, match="unknown key"):
        gate.caller(sent)
    assert gate.authenticate.known(f"Bearer {sent}") is None


def test_good_tokens_fill_no_memory(
    gate: Gate, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bearer, "CACHE_SIZE", 3)
    for _ in range(11):
        newest = token(clocks)
        assert gate.caller(newest)
        assert len(gate.authenticate.verified) <= 3
    asked = gate.source.asked
    for sent in (token(clocks), newest, newest):
        assert gate.caller(sent)
    assert gate.source.asked == asked + 1, "the last ones are remembered"


def test_a_token_longer_than_any_of_ours_is_not_even_verified(gate: Gate, clocks: Clocks) -> None:
    assert gate.refuses(token(clocks, scope="x" * 4096))
    assert gate.source.asked == 0


@pytest.mark.parametrize("claim", [*bearer.REQUIRED, *bearer.REQUIRED_OF_USERS])
def test_a_token_that_lacks_a_claim_is_nobodys(gate: Gate, clocks: Clocks, claim: str) -> None:
    assert gate.refuses(token(clocks, **{claim: None}))
    assert gate.authenticate.verified == {}


@pytest.mark.parametrize(
    "changed",
    [
        {"type": "service"}, {"type": "refresh"}, {"sid": 5}, {"role": 5}, {"aud": ["other"]},
        {"iss": "other"}, {"scope": ""}, {"sub": 7}, {"sub": "0"}, {"sub": "-7"}, {"sub": "٧"},
        {"sub": ""}, {"sub": "7.0"}, {"sub": str(2**63)}, {"sub": "1" * 20}, {"sub": "users"},
        {"sub": "7".zfill(20)},
    ],
)  # fmt: skip
def test_a_token_that_says_something_odd_is_nobodys(
    gate: Gate, clocks: Clocks, changed: dict[str, Any]
) -> None:
    assert gate.refuses(token(clocks, **changed))


@pytest.mark.parametrize(("ago", "refused"), [(20, False), (30, True)])
def test_a_token_is_refused_half_a_minute_after_its_end(
    gate: Gate, clocks: Clocks, ago: int, refused: bool
) -> None:
    assert gate.refuses(token(clocks, exp=int(clocks.now) - ago)) == refused


@pytest.mark.parametrize("ahead", [-3600, -45, -25, -5, -1, 1, 5, 25, 30])
def test_a_token_dated_by_a_clock_that_differs_is_taken(
    gate: Gate, clocks: Clocks, ahead: int
) -> None:
    sent = token(clocks, iat=int(clocks.now) + ahead, nbf=int(clocks.now) + ahead)
    assert gate.caller(sent)
    assert gate.authenticate.known(f"Bearer {sent}")


@pytest.mark.parametrize("ahead", [31, 45, 3600])
def test_a_token_dated_further_ahead_is_refused_with_the_reason(
    gate: Gate, clocks: Clocks, ahead: int
) -> None:
    with pytest.raises(Unauthenticated, match="clocks here and at the users service differ"):
        gate.caller(token(clocks, iat=int(clocks.now) + ahead))


@pytest.mark.parametrize("ahead", [-25, 0, 25])
def test_however_clocks_differ_what_has_ended_has_ended(
    gate: Gate, clocks: Clocks, ahead: int
) -> None:
    """Whether a token was issued before a change, its own time and the change's decide."""
    change = int(clocks.now) + ahead
    gate.authenticate.standing = Ended(change)
    old, new = (token(clocks, iat=change + late) for late in (-1, 0))
    for _ in range(2):
        assert gate.refuses(old)
        assert gate.authenticate.known(f"Bearer {old}") is None
        assert gate.caller(new)
        assert gate.authenticate.known(f"Bearer {new}")


@pytest.mark.parametrize("user_id", [1, 2**63 - 1])
def test_every_id_that_an_account_can_have_is_taken(
    gate: Gate, clocks: Clocks, user_id: int
) -> None:
    found = gate.caller(token(clocks, sub=str(user_id)))
    assert found is not None
    assert found.user_id == user_id


def test_what_the_fast_path_does_not_know_goes_the_whole_way(gate: Gate, clocks: Clocks) -> None:
    sent = token(clocks)
    for header in (None, "", "Bearer", "Bearer ", sent, f"Bearer {sent}"):
        assert gate.authenticate.known(header) is None
    gate.caller(sent)
    assert gate.authenticate.known(f"Bearer {sent}") == gate.caller(sent)
    for header in (sent, f"bearer {sent}", f"Basic {sent}", f"Bearer  {sent}", f"Bearer {sent}x"):
        assert gate.authenticate.known(header) is None


def test_a_key_is_looked_up_where_an_app_has_keys_and_is_a_bad_token_elsewhere() -> None:
    program, asked = Caller("key", "3", frozenset()), []

    def look_up(credential: str) -> Caller | None:
        asked.append(credential)
        return program if credential == "ffk_good" else None

    gate = Gate()
    assert gate.refuses("ffk_good")
    gate.authenticate.key_lookup = gate.authenticate.key_known = look_up
    assert gate.caller("ffk_good") == gate.authenticate.known("Bearer ffk_good") == program
    assert gate.refuses("ffk_bad")
    assert gate.refuses("a.b.c")
    assert gate.authenticate.known("Bearer a.b.c") is None
    assert asked == ["ffk_good", "ffk_good", "ffk_bad"]
