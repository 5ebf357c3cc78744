"""Passwords: which are taken, how they are kept."""

from __future__ import annotations

import time
from threading import Event, Thread

import bcrypt
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from chassis.errors import TooManyRequests
from tests.servers import BUSY_SECONDS
from tests.unit.users.conftest import PASSWORD, MakeApp, Person, register
from users_app import hashing_slots, passwords
from users_app.models import User, db


def stored_hash(app: Flask, name: str) -> str:
    with app.app_context():
        found = db.session.scalar(select(User.hashed_password).where(User.username == name))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("seven77", "must have 8 to 128 characters"),
        ("x" * 129, "must have 8 to 128 characters"),
        ("password1", "among the passwords that are tried first"),
        ("PASSWORD1", "among the passwords that are tried first"),
        ("my-Grace-2026", "must not contain the username"),
    ],
)
def test_a_password_is_refused_with_the_reason(
    client: FlaskClient, password: str, reason: str
) -> None:
    answer = register(client, "grace", password=password)
    assert answer.status_code == 422
    (complaint,) = answer.get_json()["errors"]
    assert complaint["field"] == "password"
    assert reason in complaint["message"]


@pytest.mark.parametrize("password", ["12345678 9", "only lower case", "é" * 128, "🦆" * 8])
def test_a_password_needs_no_mixture_of_characters(client: FlaskClient, password: str) -> None:
    assert register(client, "grace", password=password).status_code == 201
    sign_in = client.post("/login", json={"username": "grace", "password": password})
    assert sign_in.status_code == 200


def test_characters_beyond_the_72nd_byte_count(client: FlaskClient) -> None:
    register(client, "grace", password="a b" * 40 + "right")
    wrong = client.post("/login", json={"username": "grace", "password": "a b" * 40 + "wrong"})
    assert wrong.status_code == 401


def test_the_stored_hash_is_useless_without_the_key(app: Flask, ada: Person) -> None:
    stored = stored_hash(app, "ada").encode()
    assert stored.startswith(b"$2b$04$")
    assert not bcrypt.checkpw(PASSWORD.encode(), stored)


def test_a_rise_of_the_cost_rehashes_at_the_next_sign_in(make_app: MakeApp) -> None:
    before = make_app()
    ada = Person(before.test_client(), "ada")
    after = make_app(bcrypt_rounds=5)
    sign_in = {"username": "ada", "password": PASSWORD}
    assert after.test_client().post("/login", json=sign_in).status_code == 200
    assert stored_hash(after, "ada").startswith("$2b$05$")
    assert ada.sign_in().status_code == 200
    assert stored_hash(before, "ada").startswith("$2b$05$"), "a lower cost changes nothing"


@pytest.mark.parametrize("corrupt", ["", "nonsense", "$2b$04$tooshort", "$2b$99$" + "a" * 53])
def test_a_corrupt_hash_is_a_failed_sign_in(app: Flask, ada: Person, corrupt: str) -> None:
    with app.app_context():
        db.session.execute(update(User).where(User.id == ada.id).values(hashed_password=corrupt))
        db.session.commit()
    assert ada.sign_in().status_code == 401


def test_a_new_password_ends_the_other_sessions_and_not_this_one(ada: Person) -> None:
    other = ada.sign_in().get_json()
    body = {"current_password": PASSWORD, "new_password": "another long one"}
    assert ada.call("PUT", "/users/me/password", json=body).status_code == 204
    assert ada.call("GET", "/users/me").status_code == 200
    assert ada.refresh().status_code == 200
    assert ada.refresh(other["refresh_token"]).status_code == 400
    assert ada.sign_in().status_code == 401
    assert ada.sign_in("another long one").status_code == 200


@pytest.mark.parametrize(
    ("current", "new", "field"),
    [
        ("wrong password", "another long one", "current_password"),
        (PASSWORD, "has ada in it", "new_password"),
        (PASSWORD, "password1", "new_password"),
    ],
)
def test_a_password_change_is_refused_by_its_field(
    ada: Person, current: str, new: str, field: str
) -> None:
    body = {"current_password": current, "new_password": new}
    answer = ada.call("PUT", "/users/me/password", json=body)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.get_json()["errors"]] == [field]
    assert ada.sign_in().status_code == 200


class HeldBcrypt:
    """Stands in for bcrypt, and hashes for as long as a test wants."""

    def __init__(self) -> None:
        self.entered = Event()
        self.leave = Event()

    def generate_password_hash(self, _password: bytes, _rounds: int) -> bytes:
        return b"$2b$04$stand-in"

    def check_password_hash(self, _stored: str, _password: bytes) -> bool:
        self.entered.set()
        self.leave.wait(10)
        return True


HOME, ELSEWHERE = "192.0.2.1", "198.51.100.7"


class Hashing:
    """A hasher with one slot, whose hashes last until the end of the block; its threads."""

    def __init__(self) -> None:
        self.held = HeldBcrypt()
        self.hasher = passwords.PasswordHasher(self.held, b"pepper", rounds=4, slots=1)
        self.done: list[str] = []
        self.threads: list[Thread] = []

    def __enter__(self) -> Hashing:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self.held.leave.set()
        for thread in self.threads:
            thread.join()

    def check(self, address: str) -> bool:
        return self.hasher.matches("stored", "password", address)

    def begin(self, address: str) -> None:
        """Checks in a thread; returns once that has its place."""
        before = self.hasher.slots.in_flight.total()
        thread = Thread(target=lambda: self.check(address) and self.done.append(address))
        thread.start()
        self.threads.append(thread)
        while self.hasher.slots.in_flight.total() == before:
            time.sleep(0.001)


def test_hashing_slots_are_bounded_and_the_surplus_is_told_when_to_return() -> None:
    with Hashing() as hashing:
        hashing.begin(HOME)
        hashing.held.entered.wait(10)
        begun = time.monotonic()
        with pytest.raises(TooManyRequests) as refusal:
            hashing.check(ELSEWHERE)
        waited = time.monotonic() - begun
    assert int(refusal.value.headers["Retry-After"]) >= 1
    longest = hashing_slots.MAX_WAIT_SECONDS
    assert longest <= waited < longest + BUSY_SECONDS, "two seconds, not twenty"
    assert hashing.check(ELSEWHERE), "the slot is free again"


@pytest.mark.parametrize(
    ("one", "same"),
    [(HOME, HOME), ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9")],
    ids=["IPv4", "IPv6 counts by /64"],
)
def test_one_address_takes_two_places_and_others_go_on_in_turn(
    monkeypatch: pytest.MonkeyPatch, one: str, same: str
) -> None:
    monkeypatch.setattr(hashing_slots, "MAX_WAIT_SECONDS", 60)
    with Hashing() as hashing:
        hashing.begin(one)
        hashing.begin(same)
        begun = time.monotonic()
        for address in (one, same):
            with pytest.raises(TooManyRequests, match="from here") as refusal:
                hashing.check(address)
        assert time.monotonic() - begun < BUSY_SECONDS, "told at once"
        hashing.begin("2001:db8:1:3::1")
        hashing.begin(ELSEWHERE)
    assert int(refusal.value.headers["Retry-After"]) >= 1
    assert hashing.done == [one, same, "2001:db8:1:3::1", ELSEWHERE], "in the order they came"
    assert not hashing.hasher.slots.in_flight


def test_beyond_the_places_of_all_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing_slots, "MAX_WAIT_SECONDS", 60)
    with Hashing() as hashing:
        for number in range(5):
            hashing.begin(f"192.0.2.{number}")
        begun = time.monotonic()
        with pytest.raises(TooManyRequests):
            hashing.check(ELSEWHERE)
        assert time.monotonic() - begun < BUSY_SECONDS
    assert len(hashing.done) == 5
    assert hashing.check(ELSEWHERE)


def test_who_waited_in_vain_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing_slots, "MAX_WAIT_SECONDS", 0.05)
    with Hashing() as hashing:
        hashing.begin(HOME)
        for address in (ELSEWHERE, ELSEWHERE, HOME):
            with pytest.raises(TooManyRequests):
                hashing.check(address)
        monkeypatch.setattr(hashing_slots, "MAX_WAIT_SECONDS", 60)
        hashing.begin(ELSEWHERE)
    assert hashing.done == [HOME, ELSEWHERE]
