"""Accounts: registered, read, changed."""

from __future__ import annotations

from flask.testing import FlaskClient

from tests.unit.users.conftest import PASSWORD, Person, register


def test_a_registration_answers_the_account_without_its_password(client: FlaskClient) -> None:
    answer = register(client, "grace", full_name="Grace Hopper")
    account = answer.get_json()
    assert answer.status_code == 201
    assert set(account) == {
        "id", "email", "username", "full_name", "role", "is_active", "created_at", "updated_at",
    }  # fmt: skip
    assert account["email"] == "grace@example.com"
    assert account["full_name"] == "Grace Hopper"
    assert account["created_at"].endswith("Z")


def test_me_is_the_account_that_is_signed_in(ada: Person) -> None:
    assert ada.call("GET", "/users/me").get_json() == ada.account


def test_login_takes_the_email_in_place_of_the_username(ada: Person) -> None:
    body = {"username": "ADA@Example.COM", "password": PASSWORD}
    answer = ada.client.post("/login", json=body)
    assert answer.status_code == 200
    assert answer.get_json()["user"] == ada.account
    assert answer.get_json()["token_type"] == "bearer"
