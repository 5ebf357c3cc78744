"""A rotation of the signing key, under traffic: no request is lost."""

from __future__ import annotations

import signal
from pathlib import Path
from threading import Event, Thread

import jwt
import requests

from chassis.bearer import RemoteKeys
from tests.integration.users_service import Api, users_stack
from tests.servers import wait_until
from tests.stack import Stack, private_key
from users_app.keys import key_ring


class Traffic:
    """Signs in, refreshes and calls without pause, and verifies tokens as analytics does."""

    def __init__(self, stack: Stack) -> None:
        self.api = Api(stack.users_url)
        self.keys = RemoteKeys(f"{stack.users_url}/.well-known/jwks.json", patience=0.1)
        self.kids: list[str] = []
        self.lost: list[str] = []
        self.calls = 0
        self.stop = Event()
        self.tokens = self.api.tokens("ada")
        self.thread = Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                self.turn()
            except (requests.RequestException, KeyError, AssertionError) as error:
                self.lost.append(repr(error))

    def turn(self) -> None:
        token = self.tokens["access_token"]
        kid = jwt.get_unverified_header(token)["kid"]
        if self.keys.key(kid) is None:
            self.lost.append(f"unknown key {kid}")
        answer = self.api.call("GET", "/users/me", token)
        if answer.status_code != 200:
            self.lost.append(answer.text)
        self.kids.append(kid)
        self.calls += 1
        if self.calls % 5 == 0:
            self.tokens = self.api.refresh(self.tokens["refresh_token"]).json()
            assert "access_token" in self.tokens

    def end(self) -> None:
        self.stop.set()
        self.thread.join()


def published(api: Api) -> list[str]:
    document = api.call("GET", "/.well-known/jwks.json").json()
    return [each["kid"] for each in document["keys"]]


def test_a_rotation_loses_no_request(tmp_path: Path) -> None:
    path = tmp_path / "keys.pem"
    path.write_text(private_key())
    settings = {"JWT_PRIVATE_KEY": "", "JWT_PRIVATE_KEY_FILE": str(path)}
    with users_stack("sqlite://", settings=settings, workers=2) as stack:
        api = Api(stack.users_url)
        api.register("ada")
        (old,) = published(api)
        traffic = Traffic(stack)
        try:
            for step, expected in (("publish", 2), ("sign", 2), ("retire", 1)):
                if step == "retire":
                    # As after the life of an access token: every client has a newer one.
                    wait_until("newer tokens", lambda: old not in traffic.kids[-15:], 30)
                stack.flask("users_app", "rotate-keys", "--step", step, "--now")
                reload(stack, api, path, expected)
        finally:
            traffic.end()
    assert traffic.lost == []
    assert len(set(traffic.kids)) == 2
    assert old not in published_in(path)


def reload(stack: Stack, api: Api, path: Path, expected: int) -> None:
    stack.processes["users"].send_signal(signal.SIGHUP)
    wanted = published_in(path)
    assert len(wanted) == expected

    def all_workers_know() -> bool:
        return all(published(api) == wanted for _ in range(8))

    wait_until("the reload", all_workers_know, 60, 0.2)


def published_in(path: Path) -> list[str]:
    return [each.kid for each in key_ring(path.read_text()).keys]
