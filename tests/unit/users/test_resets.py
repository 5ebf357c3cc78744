"""Forgotten passwords, and the mails about them."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from flask import Flask
from sqlalchemy import create_engine, func, select, text
from werkzeug.test import TestResponse

from chassis.database import transaction
from tests.unit.users.conftest import PASSWORD, Clock, MakeApp, Person
from tests.unit.users.mailbox import code_in, deliver, mails
from users_app import resets
from users_app.accounts import change, find
from users_app.models import Mail, PasswordReset, db
from users_app.relay import housekeeping, mailer
from users_app.relay.letters import letter

NEW = "a new long password"


@pytest.fixture
def app(make_app: MakeApp, tmp_path: Path) -> Flask:
    """Returns the app with a mail folder of its own."""
    return make_app(mail_dir=str(tmp_path))


def ask(person: Person, email: str = "ada@example.com", **headers: str) -> TestResponse:
    return person.client.post("/password-reset", json={"email": email}, headers=headers)


def confirm(person: Person, token: str, password: str = NEW) -> TestResponse:
    body = {"token": token, "new_password": password}
    return person.client.post("/password-reset/confirm", json=body)


@pytest.fixture
def code(app: Flask, ada: Person, tmp_path: Path) -> str:
    """Returns the code of a reset mail to ada."""
    assert ask(ada).status_code == 202
    deliver(app)
    (mail,) = mails(tmp_path)
    return code_in(mail)


def test_the_code_of_the_mail_sets_a_new_password_once(ada: Person, code: str) -> None:
    assert confirm(ada, code).status_code == 204
    assert ada.sign_in(NEW).status_code == 200
    assert ada.sign_in(PASSWORD).status_code == 401
    again = confirm(ada, code, "yet another password")
    assert again.status_code == 422
    assert again.get_json()["errors"][0]["field"] == "token"


def test_no_other_code_opens_an_account_while_one_lives(ada: Person, code: str) -> None:
    for other in ("made up", code[:-1], code + "x", code.swapcase()):
        assert confirm(ada, other).status_code == 422
    assert ada.sign_in(PASSWORD).status_code == 200


def test_the_trail_says_that_it_was_a_reset(admin: Person, ada: Person, code: str) -> None:
    confirm(ada, code)
    newest = admin.call("GET", f"/audit?account_id={ada.id}").get_json()["items"][0]
    assert (newest["action"], newest["details"]) == ("password_changed", {"how": "reset"})


def test_a_code_used_while_the_password_was_hashed_is_dead(
    app: Flask, ada: Person, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasher = app.extensions["users"].hasher
    hash_password = hasher.hash

    def another_comes_first(*given: str) -> str:
        monkeypatch.setattr(hasher, "hash", hash_password)
        assert confirm(ada, code, "the quicker password").status_code == 204
        return str(hash_password(*given))

    monkeypatch.setattr(hasher, "hash", another_comes_first)
    assert confirm(ada, code).status_code == 422
    assert ada.sign_in("the quicker password").status_code == 200


def test_no_connection_is_held_while_the_password_is_hashed(
    app: Flask, ada: Person, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasher, held = app.extensions["users"].hasher, []
    hash_password = hasher.hash

    def watched(*given: str) -> str:
        held.append(db.session().in_transaction())
        return str(hash_password(*given))

    monkeypatch.setattr(hasher, "hash", watched)
    assert confirm(ada, code).status_code == 204
    assert held == [False]


def test_a_dead_code_costs_no_hash(
    app: Flask, ada: Person, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirm(ada, code)
    monkeypatch.setattr(app.extensions["users"].hasher, "hash", None)
    for token in (code, "made up"):
        assert confirm(ada, token, "yet another password").status_code == 422


def test_a_reset_ends_every_session(ada: Person, code: str) -> None:
    confirm(ada, code)
    assert ada.call("GET", "/users/me").status_code == 401
    assert ada.refresh().status_code == 400


def test_the_answer_is_the_same_whether_or_not_the_account_exists(
    app: Flask, ada: Person, tmp_path: Path
) -> None:
    known, unknown = ask(ada), ask(ada, "nobody@example.com")
    assert (known.status_code, known.get_json()) == (unknown.status_code, unknown.get_json())
    with app.app_context():
        queued = db.session.scalars(select(Mail.recipient).order_by(Mail.id)).all()
    assert queued == ["ada@example.com", "nobody@example.com"], "the same work for both"
    deliver(app)
    assert [mail["To"] for mail in mails(tmp_path)] == ["ada@example.com"]


@pytest.mark.parametrize(("seconds", "status"), [(3599, 204), (3600, 422)])
def test_a_code_lives_for_an_hour(
    app: Flask, ada: Person, moving_clock: Clock, tmp_path: Path, seconds: int, status: int
) -> None:
    ask(ada)
    deliver(app)
    moving_clock.forward(seconds=seconds)
    assert confirm(ada, code_in(mails(tmp_path)[0])).status_code == status


def test_codes_that_are_over_make_room_for_new_ones(
    app: Flask, ada: Person, moving_clock: Clock, tmp_path: Path
) -> None:
    for sent in (1, 2, 3, 3):
        ask(ada)
        deliver(app)
        assert len(mails(tmp_path)) == sent
        moving_clock.forward(seconds=1)
    moving_clock.forward(hours=1, seconds=-4)  # to the very end of the first
    ask(ada)
    deliver(app)
    assert len(mails(tmp_path)) == 4


@pytest.mark.parametrize("change", ["password", "email", "is_active"])
def test_a_code_is_dead_after_a_change(admin: Person, ada: Person, code: str, change: str) -> None:
    if change == "password":
        body = {"current_password": PASSWORD, "new_password": "changed in between"}
        ada.call("PUT", "/users/me/password", json=body)
    elif change == "email":
        body = {"current_password": PASSWORD, "email": "countess@example.com"}
        ada.call("PATCH", "/users/me", json=body)
    else:
        for value in (False, True):
            admin.call("PATCH", f"/users/{ada.id}", json={"is_active": value})
    assert confirm(ada, code).status_code == 422


def test_a_code_made_beside_a_change_of_email_does_not_outlive_it(
    app: Flask, database_url: str, ada: Person
) -> None:
    if database_url == "sqlite://":
        pytest.skip("SQLite has one writer at a time")
    made: list[object] = []
    issuing = Thread(target=issue_in(app, made))
    with app.app_context():
        with transaction(db.session):
            account = find.locked(ada.id)
            issuing.start()
            wait_for_lock(database_url)
            account.email = account.email_key = "ada@new.test"
            change.void_resets(ada.id)
        issuing.join()
        codes = db.session.scalar(select(func.count()).select_from(PasswordReset))
    assert (made, codes) == ([None], 0)


def issue_in(app: Flask, made: list[object]) -> Callable[[], None]:
    """Returns what makes a code for the address before, in a thread of its own."""

    def issue() -> None:
        with app.app_context(), transaction(db.session):
            made.append(resets.issue("ada@example.com", b"salt"))

    return issue


def wait_for_lock(database_url: str) -> None:
    """Waits until one backend of the database waits for another's lock."""
    engine = create_engine(database_url, isolation_level="AUTOCOMMIT")
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with engine.connect() as connection:
        for _ in range(300):
            if connection.execute(waiting).scalar_one():
                break
            time.sleep(0.01)
    engine.dispose()


def test_all_codes_are_dead_once_one_was_used(
    app: Flask, ada: Person, code: str, tmp_path: Path
) -> None:
    ask(ada)
    deliver(app)
    newer = code_in(mails(tmp_path)[-1])
    assert newer != code
    confirm(ada, newer)
    assert confirm(ada, code).status_code == 422


def test_a_refused_password_does_not_spend_the_code(ada: Person, code: str) -> None:
    for password in ("short", "password1", "with ada inside"):
        assert confirm(ada, code, password).status_code == 422
    assert confirm(ada, code).status_code == 204


def test_the_code_is_not_kept(app: Flask, ada: Person, code: str) -> None:
    with app.app_context():
        rows = str(db.session.execute(select(PasswordReset.__table__)).all())
    assert rows != "[]"
    assert code not in rows


def test_the_code_of_a_mail_that_waits_is_not_kept_either(
    app: Flask, ada: Person, tmp_path: Path
) -> None:
    ask(ada)
    with app.app_context():
        (mail,) = mailer.claim(1)
        assert letter(mail)
        tables = Mail.__table__, PasswordReset.__table__
        rows = str([db.session.execute(select(each)).all() for each in tables])
        assert resets.code(mail.salt or b"") not in rows
        assert resets.digest(resets.code(mail.salt or b"")) in rows


def test_the_link_comes_from_the_settings_and_not_from_the_request(
    app: Flask, ada: Person, tmp_path: Path
) -> None:
    ask(ada, Host="evil.example", **{"X-Forwarded-Host": "evil.example"})
    deliver(app)
    text = mails(tmp_path)[0].get_content()
    assert "https://footfall.test/password-reset/confirm?token=" in text
    assert "evil" not in text


def test_a_disabled_account_gets_no_mail(
    app: Flask, admin: Person, ada: Person, tmp_path: Path
) -> None:
    admin.call("PATCH", f"/users/{ada.id}", json={"is_active": False})
    ask(ada)
    deliver(app)
    assert mails(tmp_path) == []


def test_nobodys_inbox_is_flooded(app: Flask, ada: Person, tmp_path: Path) -> None:
    for _ in range(5):
        ask(ada)
    deliver(app)
    assert len(mails(tmp_path)) == 3


def test_a_mail_is_a_file_that_only_its_owner_reads(ada: Person, code: str, tmp_path: Path) -> None:
    (path,) = tmp_path.glob("*.eml")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_expired_codes_are_removed(app: Flask, ada: Person, code: str, moving_clock: Clock) -> None:
    moving_clock.forward(minutes=61)
    with app.app_context():
        housekeeping.remove_expired()
        left = db.session.scalar(select(func.count()).select_from(PasswordReset))
    assert left == 0
