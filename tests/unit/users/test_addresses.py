"""An address is what was registered: look-alikes are other people's mailboxes."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select
from werkzeug.test import TestResponse

from tests.smtp import SmtpServer, smtp_server
from tests.unit.users.conftest import PASSWORD, MakeApp, Person, register
from tests.unit.users.mailbox import code_in, deliver, mails
from users_app import names
from users_app.models import Mail, PasswordReset, User, db
from users_app.relay import mailer

A_LABEL, U_LABEL = "ada@xn--strae-oqa.example", "ada@straße.example"
# One comparison key by NFKC and casefolding, two mailboxes.
LOOK_ALIKES = [
    ("ada@strasse.example", U_LABEL),
    ("sam@example.com", "ſam@example.com"),
    ("fiona@example.com", "ﬁona@example.com"),
    ("kim@example.com", "\N{KELVIN SIGN}im@example.com"),
    ("strasse@example.com", "straße@example.com"),
    ("ada@example.com", "ａda@example.com"),
    ("ada1@example.com", "ada①@example.com"),
    ("café@example.com", "cafe\u0301@example.com"),
    ("äda@example.com", "Äda@example.com"),
    ("ιda@example.com", "\u1fbeda@example.com"),
    ("inge@example.com", "ınge@example.com"),
]


@pytest.fixture
def app(make_app: MakeApp, tmp_path: Path) -> Flask:
    """Returns the app with a mail folder of its own."""
    return make_app(mail_dir=str(tmp_path))


def sign_in(admin: Person, name: str) -> int:
    body = {"username": name, "password": PASSWORD}
    return admin.client.post("/login", json=body).status_code


def ask_reset(admin: Person, email: str) -> None:
    assert admin.client.post("/password-reset", json={"email": email}).status_code == 202


@pytest.mark.parametrize(("registered", "typed"), [*LOOK_ALIKES, *(p[::-1] for p in LOOK_ALIKES)])
def test_a_look_alike_finds_neither_account_nor_mailbox(
    app: Flask, admin: Person, tmp_path: Path, registered: str, typed: str
) -> None:
    assert register(admin.client, "victim", email=registered).get_json()["email"] == registered
    ask_reset(admin, typed)
    deliver(app)
    assert mails(tmp_path) == []
    assert sign_in(admin, typed) == 401
    assert sign_in(admin, registered) == 200
    assert register(admin.client, "stranger", email=typed).status_code == 201, "its own account"
    ask_reset(admin, typed)
    deliver(app)
    assert [mail["To"] for mail in mails(tmp_path)] == [typed]
    body = {"token": code_in(mails(tmp_path)[0]), "new_password": "a new long password"}
    assert admin.client.post("/password-reset/confirm", json=body).status_code == 204
    assert sign_in(admin, registered) == 200, "the password that changed was the stranger's"


@pytest.mark.parametrize(
    ("registered", "typed"),
    [
        ("Ada@Example.com", "aDA@eXAMPLE.COM"),
        (A_LABEL, U_LABEL),
        (U_LABEL, A_LABEL),
        (U_LABEL, "ADA@XN--STRAE-OQA.Example"),
        (U_LABEL, "ada@STRAßE.example"),
        ("ada@bücher.example", "ada@BÜCHER.example"),
        ("ada@fine.example", "ada@ﬁne.example"),
    ],
)
def test_one_mailbox_is_one_account_and_a_code_goes_to_the_stored_address(
    app: Flask, admin: Person, tmp_path: Path, registered: str, typed: str
) -> None:
    stored = register(admin.client, "ada", email=registered).get_json()["email"]
    for name in (registered, typed, stored):
        assert sign_in(admin, name) == 200
    taken = register(admin.client, "other", email=typed)
    assert [each["field"] for each in taken.get_json()["errors"]] == ["email"]
    ask_reset(admin, typed)
    deliver(app)
    assert [mail["To"] for mail in mails(tmp_path)] == [stored]


@pytest.mark.parametrize(("invited", "typed"), LOOK_ALIKES)
def test_an_invite_to_an_address_is_no_invite_to_its_look_alike(
    app: Flask, admin: Person, tmp_path: Path, invited: str, typed: str
) -> None:
    made = admin.call("POST", "/invites", json={"email": invited}).get_json()
    deliver(app)
    assert [mail["To"] for mail in mails(tmp_path)] == [invited], "as typed"
    refused = register(admin.client, "ada", email=typed, invite=made["invite"])
    assert [each["field"] for each in refused.get_json()["errors"]] == ["invite"]
    taken = register(admin.client, "ada", email=invited, invite=made["invite"])
    assert taken.status_code == 201


def test_a_username_is_never_taken_for_an_address_nor_the_reverse(admin: Person) -> None:
    register(admin.client, "straße", email="one@example.com")
    assert sign_in(admin, "STRASSE") == 200
    assert sign_in(admin, "one＠example.com") == 401


def test_a_change_of_email_is_told_to_the_address_before(
    app: Flask, admin: Person, ada: Person, tmp_path: Path
) -> None:
    body = {"email": "new@example.com", "current_password": PASSWORD}
    assert ada.call("PATCH", "/users/me", json=body).status_code == 200
    admin.call("PATCH", f"/users/{ada.id}", json={"email": "newer@example.com"})
    ada.call("PATCH", "/users/me", json={"full_name": "Ada"})
    deliver(app)
    found = mails(tmp_path)
    assert [mail["To"] for mail in found] == ["ada@example.com", "new@example.com"]
    assert "email address of your Footfall account was changed" in found[0].get_content()
    assert "new@example.com" not in found[0].get_content()


def test_nobody_is_flooded_with_such_notices(app: Flask, ada: Person, tmp_path: Path) -> None:
    def change(number: int) -> TestResponse:
        body = {"email": f"ada{number}@example.com", "current_password": PASSWORD}
        return ada.call("PATCH", "/users/me", json=body)

    allowed = 3
    answers = [change(number) for number in range(allowed + 2)]
    assert [each.status_code for each in answers] == [200] * allowed + [429] * 2
    assert answers[-1].headers["Retry-After"] == "900"
    assert ada.call("GET", "/users/me").get_json()["email"] == f"ada{allowed - 1}@example.com"
    deliver(app)
    assert len(mails(tmp_path)) == allowed


def test_a_change_that_fails_sends_no_notice(app: Flask, ada: Person) -> None:
    taken = {"email": "root@example.com", "current_password": PASSWORD}
    assert ada.call("PATCH", "/users/me", json=taken).status_code == 409
    with app.app_context():
        assert db.session.scalars(select(Mail)).all() == []


def mailed(make_app: MakeApp, server: SmtpServer, address: str) -> Flask:
    """Returns an app from which a reset was sent to the account of that address."""
    app = make_app(smtp_host="127.0.0.1", smtp_port=server.port, smtp_security="none",
                   mail_from="Footfall <footfall@bücher.example>")  # fmt: skip
    client = app.test_client()
    assert register(client, "ada", email=address).status_code == 201
    client.post("/password-reset", json={"email": address})
    deliver(app)
    return app


def kept(app: Flask) -> list[bool]:
    """Returns for each mail that is there whether it was given up."""
    with app.app_context():
        return [each.dead_at is not None for each in db.session.scalars(select(Mail))]


def test_a_server_of_ascii_alone_gets_the_domains_a_label(make_app: MakeApp) -> None:
    with smtp_server(smtputf8=False) as server:
        app = mailed(make_app, server, U_LABEL)
    (taken,) = server.taken
    assert taken.recipients == [A_LABEL]
    assert taken.sender.lower().startswith("mail from:<footfall@xn--bcher-kva.example>")
    head = taken.octets.partition(b"\r\n\r\n")[0].decode("ascii")
    assert f"To: {A_LABEL}" in head
    assert "From: Footfall <footfall@xn--bcher-kva.example>" in head
    assert kept(app) == []


@pytest.mark.parametrize("address", [U_LABEL, "ﬁona@straße.example", "käthe@example.com"])
def test_a_server_with_smtputf8_gets_the_address_letter_for_letter(
    make_app: MakeApp, address: str
) -> None:
    with smtp_server(smtputf8=True) as server:
        app = mailed(make_app, server, address)
    (taken,) = server.taken
    assert taken.recipients == [address]
    assert "SMTPUTF8" in taken.sender
    assert f"To: {address}\r\n".encode() in taken.octets
    assert kept(app) == []


def test_an_address_that_the_server_can_not_be_told_is_given_up_and_said(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(mailer.log, "error", lambda text, **given: said.append(f"{text} {given}"))
    with smtp_server(smtputf8=False) as server:
        app = mailed(make_app, server, "käthe@example.com")
    assert server.taken == []
    assert kept(app) == [True], "no later try would do better"
    (line,) = said
    assert line.startswith("mail given up")
    assert "SMTPUTF8" in line
    assert "käthe" not in line


def test_a_code_whose_mail_was_given_up_is_dead(make_app: MakeApp) -> None:
    with smtp_server(smtputf8=False) as server:
        app = mailed(make_app, server, "käthe@example.com")
    with app.app_context():
        assert db.session.scalars(select(PasswordReset)).all() == []


def test_the_key_of_a_text_that_is_no_address_is_found_at_no_cost() -> None:
    for text in ("", "@", "a@", "a@-b", "a@b..c", "a@" + "٠" * 5000, "a@xn--zz99zz", "a@\x00"):
        assert names.address_key(text) == text


def test_accounts_of_the_release_before_sign_in_with_what_they_have(
    app: Flask, admin: Person
) -> None:
    """Names that are refused today, stored before they were."""
    for number, name in enumerate(["ro\u034fot0", "\u3164", "a\ufe0f", "b\u115f"]):
        person = register(admin.client, f"old{number}").get_json()
        with app.app_context():
            stored = db.session.get_one(User, person["id"])
            stored.username, stored.username_key = name, names.key(name)
            stored.full_name = "Old\u200b"
            db.session.commit()
        assert sign_in(admin, name) == 200
        answer = admin.call("PATCH", f"/users/{person['id']}", json={"role": "analyst"})
        assert answer.get_json()["username"] == name
