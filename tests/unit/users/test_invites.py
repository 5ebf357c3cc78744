"""Invites: single use, expiring, hashed at rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from werkzeug.test import TestResponse

from tests.unit.users.conftest import Clock, MakeApp, Person, register
from tests.unit.users.mailbox import code_in, deliver, mails
from users_app.accounts import find
from users_app.models import Invite, db


@pytest.fixture
def app(make_app: MakeApp, tmp_path: Path) -> Flask:
    """Returns the app where registration is by invite, after its admin was made."""
    opened = make_app()
    Person(opened.test_client(), "root")
    return make_app(registration="invite", mail_dir=str(tmp_path))


@pytest.fixture
def admin(app: Flask) -> Person:
    person = Person.__new__(Person)
    person.client, person.name, person.id = app.test_client(), "root", 1
    person.tokens = person.sign_in().get_json()
    return person


def invite(admin: Person, **body: Any) -> dict[str, Any]:
    answer = admin.call("POST", "/invites", json=body)
    assert answer.status_code == 201, answer.get_json()
    made: dict[str, Any] = answer.get_json()
    return made


def complaint(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["errors"][0]["field"]


def test_nobody_registers_without_an_invite(admin: Person) -> None:
    assert register(admin.client, "ada").status_code == 403
    assert complaint(register(admin.client, "ada", invite="guessed")) == (422, "invite")


@pytest.mark.parametrize("name", ["root", "nobody"])
@pytest.mark.parametrize("kind", ["made up", "used", "another address"])
def test_without_a_valid_invite_nobody_learns_who_exists_or_has_us_hash(
    app: Flask, admin: Person, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    code = "made up"
    if kind != "made up":
        code = invite(admin, email="ada@example.com")["invite"]
    if kind == "used":
        register(admin.client, "ada", invite=code)
    hashes: list[str] = []
    monkeypatch.setattr(app.extensions["users"].hasher, "hash", lambda *_: hashes.append("hash"))
    asked: list[str] = []
    monkeypatch.setattr(find, "refuse_taken", lambda *_, **__: asked.append("who exists"))
    assert complaint(register(admin.client, name, invite=code)) == (422, "invite")
    assert hashes == asked == []


def test_with_a_valid_invite_the_taken_field_is_named(admin: Person) -> None:
    made = invite(admin)
    answer = register(admin.client, "new", email="ROOT@example.com", invite=made["invite"])
    assert answer.status_code == 409
    assert complaint(answer) == (409, "email")


def test_an_invite_withdrawn_while_the_password_was_hashed_is_dead(
    app: Flask, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, hasher = invite(admin), app.extensions["users"].hasher
    hash_password = hasher.hash

    def withdraw_meanwhile(*given: str) -> str:
        assert admin.call("DELETE", f"/invites/{made['id']}").status_code == 204
        return str(hash_password(*given))

    monkeypatch.setattr(hasher, "hash", withdraw_meanwhile)
    assert complaint(register(admin.client, "ada", invite=made["invite"])) == (422, "invite")


def test_an_invite_registers_once_with_its_role(admin: Person) -> None:
    made = invite(admin, role="analyst")
    answer = register(admin.client, "ada", invite=made["invite"])
    assert (answer.status_code, answer.get_json()["role"]) == (201, "analyst")
    assert complaint(register(admin.client, "bob", invite=made["invite"])) == (422, "invite")
    (listed,) = admin.call("GET", "/invites").get_json()["items"]
    assert listed["used_by"] == answer.get_json()["id"]


def test_a_registration_that_fails_does_not_spend_the_invite(admin: Person) -> None:
    made = invite(admin)
    assert register(admin.client, "root", invite=made["invite"]).status_code == 409
    assert register(admin.client, "ada", invite=made["invite"]).status_code == 201


def test_an_invite_expires(admin: Person, moving_clock: Clock) -> None:
    short, usual = invite(admin, expires_in_days=1), invite(admin)
    moving_clock.forward(days=6)
    assert complaint(register(admin.client, "ada", invite=short["invite"])) == (422, "invite")
    assert register(admin.client, "ada", invite=usual["invite"]).status_code == 201


def test_a_withdrawn_invite_is_dead(admin: Person) -> None:
    made = invite(admin)
    assert admin.call("DELETE", f"/invites/{made['id']}").status_code == 204
    assert admin.call("DELETE", f"/invites/{made['id']}").status_code == 404
    assert complaint(register(admin.client, "ada", invite=made["invite"])) == (422, "invite")


def test_an_invite_to_an_address_is_for_that_address(admin: Person) -> None:
    made = invite(admin, email="ada@example.com")
    assert complaint(register(admin.client, "eve", invite=made["invite"])) == (422, "invite")
    answer = register(admin.client, "ada", email="ADA@example.com", invite=made["invite"])
    assert answer.status_code == 201
    (listed,) = admin.call("GET", "/invites").get_json()["items"]
    assert listed["email"] is None, "once used, the address is forgotten"


def test_an_invite_is_mailed_with_a_link_to_the_configured_address(
    app: Flask, admin: Person, tmp_path: Path
) -> None:
    given = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    body = {"email": "ada@example.com"}
    made = admin.call("POST", "/invites", json=body, headers=given).get_json()
    deliver(app)
    (mail,) = mails(tmp_path)
    assert mail["To"] == "ada@example.com"
    assert made["link"] in mail.get_content()
    assert made["link"] == f"https://footfall.test/register?invite={made['invite']}"
    assert "evil" not in mail.get_content()
    assert register(admin.client, "ada", invite=code_in(mail)).status_code == 201


def test_the_code_is_not_kept(app: Flask, admin: Person) -> None:
    made = invite(admin)
    listed = admin.call("GET", "/invites").get_json()["items"]
    with app.app_context():
        rows = str(db.session.execute(select(Invite.__table__)).all())
    assert made["invite"] not in str(listed) + rows


@pytest.mark.parametrize(
    "body", [{"role": "owner"}, {"expires_in_days": 0}, {"email": "x"}, {"expires_in_days": 366}]
)
def test_a_malformed_invite_is_refused(admin: Person, body: dict[str, Any]) -> None:
    assert complaint(admin.call("POST", "/invites", json=body)) == (422, next(iter(body)))


def test_invites_are_listed_page_by_page(admin: Person) -> None:
    ids = [invite(admin)["id"] for _ in range(3)]
    first = admin.call("GET", "/invites?limit=2").get_json()
    rest = admin.call("GET", f"/invites?cursor={first['next_cursor']}").get_json()
    assert [each["id"] for each in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None
