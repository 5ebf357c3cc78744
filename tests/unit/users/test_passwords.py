"""Passwords: which are taken, how they are kept."""

from __future__ import annotations

from threading import Event, Thread

import bcrypt
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from chassis.errors import TooManyRequests
from tests.unit.users.conftest import PASSWORD, MakeApp, Person, register
from users_app import passwords
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


def test_hashing_slots_are_bounded_and_the_surplus_is_told_when_to_return(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passwords, "SLOT_WAIT_SECONDS", 0.01)
    held = HeldBcrypt()
    hasher = passwords.PasswordHasher(held, b"pepper", rounds=4, slots=1)
    first = Thread(target=hasher.matches, args=("stored", "password"))
    first.start()
    held.entered.wait(10)
    with pytest.raises(TooManyRequests) as refusal:
        hasher.matches("stored", "password")
    held.leave.set()
    first.join()
    assert int(refusal.value.headers["Retry-After"]) >= 1
    assert hasher.matches("stored", "password"), "the slot is free again"
