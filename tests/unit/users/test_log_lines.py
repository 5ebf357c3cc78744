"""Whom the log line of a sign-in names, and whom it doesn't."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from tests.unit.users.conftest import PASSWORD, MakeApp, Person, refresh, register
from tests.unit.users.mailbox import code_in, deliver, mails

Lines = list[dict[str, Any]]


@pytest.fixture
def app(make_app: MakeApp, tmp_path: Path) -> Flask:
    return make_app(log_level="INFO", mail_dir=str(tmp_path))


@pytest.fixture
def lines(ada: Person) -> Iterator[Lines]:
    """Yields what is logged from here on."""
    with capture_logs() as found:
        yield found


def named(lines: Lines) -> tuple[Any, Any]:
    """Returns `user_id` and `account_id` of the one request so far."""
    (line,) = [each for each in lines if each["event"] == "request"]
    lines.clear()
    assert PASSWORD not in str(line)
    assert "ada" not in str(line).lower(), "what was typed is in no log"
    return line["user_id"], line.get("account_id")


def by_password(person: Person, password: str, name: str = "ada") -> TestResponse:
    form = {"grant_type": "password", "username": name, "password": password}
    return person.client.post("/token", data=form)


def test_a_sign_in_names_its_account(ada: Person, lines: Lines) -> None:
    assert ada.sign_in().status_code == 200
    assert named(lines) == (ada.id, ada.id)
    assert by_password(ada, PASSWORD).status_code == 200
    assert named(lines) == (ada.id, ada.id)
    assert ada.refresh().status_code == 200
    assert named(lines) == (ada.id, ada.id)


def test_a_sign_in_that_fails_names_the_account_it_was_about(ada: Person, lines: Lines) -> None:
    assert ada.sign_in("wrong password").status_code == 401
    assert named(lines) == (None, ada.id)
    assert by_password(ada, "wrong password").status_code == 400
    assert named(lines) == (None, ada.id)


def test_a_sign_in_of_nobody_names_nobody(ada: Person, lines: Lines) -> None:
    body = {"username": "ada@typo.test", "password": PASSWORD}
    assert ada.client.post("/login", json=body).status_code == 401
    assert named(lines) == (None, None)
    assert refresh(ada.client, "rt_made-up").status_code == 400
    assert named(lines) == (None, None)


def test_a_refresh_token_used_twice_names_whose_it_was(ada: Person, lines: Lines) -> None:
    newer = ada.refresh().get_json()["refresh_token"]
    ada.refresh(newer)
    lines.clear()
    assert ada.refresh().status_code == 400
    assert named(lines) == (None, ada.id)


def test_a_registration_names_the_account_it_made(ada: Person, lines: Lines) -> None:
    account = register(ada.client, "new").get_json()
    assert named(lines) == (account["id"], account["id"])
    assert register(ada.client, "ADA").status_code == 409
    assert named(lines) == (None, None)


def test_signing_out_names_who_did(ada: Person, lines: Lines) -> None:
    assert ada.call("POST", "/logout").status_code == 204
    assert named(lines)[0] == ada.id


def test_a_reset_names_whose_password_it_set(
    app: Flask, ada: Person, lines: Lines, tmp_path: Path
) -> None:
    ada.client.post("/password-reset", json={"email": ada.email})
    assert named(lines) == (None, None), "asking tells nobody whether there is an account"
    deliver(app)
    lines.clear()
    (mail,) = mails(tmp_path)
    for password, status, expected in (
        ("short", 422, (None, None)),
        ("with ada inside", 422, (None, ada.id)),
        ("a new long password", 204, (ada.id, ada.id)),
        ("another password", 422, (None, None)),
    ):
        body = {"token": code_in(mail), "new_password": password}
        answer = ada.client.post("/password-reset/confirm", json=body)
        assert answer.status_code == status
        assert named(lines) == expected


def test_the_next_request_is_named_for_itself(ada: Person, lines: Lines) -> None:
    with ada.client.application.app_context():
        ada.sign_in()
        assert named(lines) == (ada.id, ada.id)
        ada.client.get("/users/me")
        assert named(lines) == (None, None)
