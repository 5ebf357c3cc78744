"""A registration sent again under its Idempotency-Key, and what nobody learns by such a key."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from tests.unit.users.conftest import PASSWORD, Clock, MakeApp, Person
from users_app.models import AuditEntry, OutboxMessage, RegistrationKey, User, db
from users_app.relay import housekeeping

KEY = "k3y-of-one-form-0123456789abcdef"


def send(admin: Person, key: str | None = KEY, **changed: Any) -> TestResponse:
    body = {"email": "ada@example.com", "username": "ada", "password": PASSWORD, **changed}
    headers = {"Idempotency-Key": key} if key else {}
    return admin.client.post("/users", json=body, headers=headers)


def count(app: Flask, table: Any, *where: Any) -> int:
    with app.app_context():
        return int(db.session.scalar(select(func.count()).select_from(table).where(*where)) or 0)


def test_the_same_form_again_is_answered_with_the_account_it_made(
    app: Flask, admin: Person
) -> None:
    first, second = send(admin), send(admin)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.get_json() == second.get_json()
    assert count(app, User) == 2
    registered = AuditEntry.action == "registered", AuditEntry.account_id == first.get_json()["id"]
    assert count(app, AuditEntry, *registered) == 1
    assert count(app, OutboxMessage, OutboxMessage.event_type == "user_registered") == 2


def test_an_invite_is_spent_once_and_its_form_may_come_twice(
    make_app: MakeApp, admin: Person
) -> None:
    by_invite = Person.__new__(Person)
    by_invite.client = make_app(registration="invite").test_client()
    code = admin.call("POST", "/invites", json={"role": "analyst"}).get_json()["invite"]
    first, second = (send(by_invite, invite=code) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.get_json() == second.get_json()
    other = send(by_invite, invite=code, username="eve", email="eve@example.com")
    assert other.status_code == 422, "for another form the invite is used"


@pytest.mark.parametrize(
    ("key", "changed"),
    [
        (None, {}),
        ("another-key-0123456789abcdef", {}),
        (KEY, {"password": "not the password"}),
        (KEY, {"username": "other"}),
        (KEY, {"email": "other@example.com"}),
        (KEY, {"full_name": "Ada L"}),
    ],
)
def test_for_all_others_a_name_that_is_taken_is_taken(
    admin: Person, key: str | None, changed: dict[str, Any]
) -> None:
    assert send(admin).status_code == 201
    assert send(admin, key, **changed).status_code == 409


def test_a_wrong_password_under_the_key_counts_as_a_failed_sign_in(admin: Person) -> None:
    send(admin)
    for _ in range(10):
        assert send(admin, password="a guess at it").status_code == 409
    assert send(admin).status_code == 409, "the right one too is refused by now"
    body = {"username": "ada", "password": PASSWORD}
    assert admin.client.post("/login", json=body).status_code == 401


def test_under_another_key_passwords_are_not_even_compared(
    app: Flask, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(admin)
    monkeypatch.setattr(app.extensions["users"].hasher, "matches", None)
    assert send(admin, "another-key-0123456789abcdef").status_code == 409


def test_after_ten_minutes_the_form_is_a_new_one(
    app: Flask, admin: Person, moving_clock: Clock
) -> None:
    send(admin)
    moving_clock.forward(minutes=10)
    assert send(admin).status_code == 409
    with app.app_context():
        housekeeping.remove_expired()
    assert count(app, RegistrationKey) == 0


def test_the_key_is_not_kept(app: Flask, admin: Person) -> None:
    send(admin)
    with app.app_context():
        rows = str(db.session.execute(select(RegistrationKey.__table__)).all())
    assert rows != "[]"
    assert KEY not in rows


def test_an_account_that_was_deleted_is_not_answered_again(app: Flask, admin: Person) -> None:
    made = send(admin).get_json()
    admin.call("DELETE", f"/users/{made['id']}")
    again = send(admin)
    assert again.status_code == 201
    assert again.get_json()["id"] != made["id"]


@pytest.mark.parametrize("key", ["short", "x" * 201, "with a space in it", "schlüssel-der-form-1"])
def test_a_key_that_can_be_guessed_or_is_none_is_refused_by_name(admin: Person, key: str) -> None:
    answer = send(admin, key)
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["field"] == "Idempotency-Key"


def test_the_document_tells_of_the_key(admin: Person) -> None:
    document = admin.client.get("/openapi.json").get_json()
    named = [each["name"] for each in document["paths"]["/users"]["post"]["parameters"]]
    assert "Idempotency-Key" in named
