"""Signing in: one answer for every failure, and a throttle that spares the owner."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete, event, func, select, update
from werkzeug.test import TestResponse

from chassis.client_address import forwarded_headers
from tests.unit.users.conftest import PASSWORD, Clock, MakeApp, Person, register
from users_app.models import SignInFailures, User, db
from users_app.parts import parts
from users_app.relay import housekeeping
from users_app.throttle import FAILURES_PER_ACCOUNT

HOME, ELSEWHERE = "192.0.2.1", "198.51.100.7"


def attempt(
    client: FlaskClient, name: str, password: str, address: str = HOME, **headers: str
) -> TestResponse:
    return client.post(
        "/login",
        json={"username": name, "password": password},
        environ_base={"REMOTE_ADDR": address},
        headers=headers,
    )


def said(answer: TestResponse) -> tuple[int, dict[str, Any], str]:
    body = {**answer.get_json(), "request_id": ""}
    return answer.status_code, body, answer.headers.get("WWW-Authenticate", "")


def lock(client: FlaskClient, name: str, address: str = HOME) -> None:
    for _ in range(FAILURES_PER_ACCOUNT):
        attempt(client, name, "wrong password", address)


def test_unknown_wrong_locked_and_disabled_are_answered_alike(admin: Person, ada: Person) -> None:
    client = ada.client
    bob = Person(client, "bob")
    admin.call("PATCH", f"/users/{bob.id}", json={"is_active": False})
    unknown = said(attempt(client, "nobody", PASSWORD))
    wrong = said(attempt(client, "ada", "wrong password"))
    disabled = said(attempt(client, "bob", PASSWORD))
    lock(client, "ada")
    locked = said(attempt(client, "ada", PASSWORD))
    assert unknown == wrong == disabled == locked
    assert unknown[0] == 401


def test_every_failure_costs_exactly_one_hash(
    app: Flask, admin: Person, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = Person(ada.client, "bob")
    admin.call("PATCH", f"/users/{bob.id}", json={"is_active": False})
    lock(ada.client, "root")
    hashes: list[int] = []
    with app.app_context():
        bcrypt = parts().hasher.bcrypt
    check = bcrypt.check_password_hash

    def counted(stored: str, password: bytes) -> bool:
        hashes.append(int(stored.split("$")[2]) if isinstance(stored, str) else 4)
        return bool(check(stored, password))

    monkeypatch.setattr(bcrypt, "check_password_hash", counted)
    for name, password in (("nobody", "x"), ("ada", "wrong"), ("root", PASSWORD), ("bob", "x")):
        assert attempt(ada.client, name, password).status_code == 401
    assert hashes == [4, 4, 4, 4]


def test_a_wrong_password_costs_no_second_hash_where_the_cost_was_raised(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(make_app().test_client(), "ada")
    dearer = make_app(bcrypt_rounds=5)
    monkeypatch.setattr(dearer.extensions["users"].hasher, "hash", None)
    assert attempt(dearer.test_client(), "ada", "wrong password").status_code == 401


def test_an_unknown_name_writes_what_a_wrong_password_does(app: Flask, ada: Person) -> None:
    said: list[str] = []
    with app.app_context():
        event.listen(db.engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    written = []
    for name in ("ada", "nobody"):
        said.clear()
        assert attempt(ada.client, name, "wrong password").status_code == 401
        written.append(sorted(each for each in said if each.startswith("INSERT")))
    assert written[0] == written[1]
    assert any("outbox" in each for each in written[1])


def test_the_right_password_works_from_elsewhere_while_someone_hammers(ada: Person) -> None:
    lock(ada.client, "ada")
    assert attempt(ada.client, "ada", PASSWORD).status_code == 401
    assert attempt(ada.client, "ada", PASSWORD, ELSEWHERE).status_code == 200


def test_a_lock_holds_under_all_names_of_the_account(ada: Person) -> None:
    lock(ada.client, "ada@example.com")
    assert attempt(ada.client, "ADA", PASSWORD).status_code == 401


def test_a_lock_is_over_after_its_window(ada: Person, moving_clock: Clock) -> None:
    lock(ada.client, "ada")
    moving_clock.forward(minutes=14)
    assert attempt(ada.client, "ada", PASSWORD).status_code == 401
    moving_clock.forward(minutes=2)
    assert attempt(ada.client, "ada", PASSWORD).status_code == 200


def test_ten_failures_lock_and_nine_do_not(ada: Person) -> None:
    for failures, status in ((9, 200), (10, 401)):
        for _ in range(failures):
            attempt(ada.client, "ada", "wrong password")
        assert attempt(ada.client, "ada", PASSWORD).status_code == status


def test_a_window_ends_to_the_second_and_the_next_one_counts_anew(
    ada: Person, moving_clock: Clock
) -> None:
    lock(ada.client, "ada")
    moving_clock.forward(minutes=15, seconds=-1)
    assert attempt(ada.client, "ada", PASSWORD).status_code == 401
    moving_clock.forward(seconds=1)
    for _ in range(9):
        attempt(ada.client, "ada", "wrong password")
    assert attempt(ada.client, "ada", PASSWORD).status_code == 200
    lock(ada.client, "ada")
    moving_clock.forward(minutes=15)
    lock(ada.client, "ada")
    assert attempt(ada.client, "ada", PASSWORD).status_code == 401


def test_a_right_sign_in_forgives_nobody_else(ada: Person) -> None:
    Person(ada.client, "bob")
    lock(ada.client, "bob")
    assert attempt(ada.client, "ada", PASSWORD).status_code == 200
    assert attempt(ada.client, "bob", PASSWORD).status_code == 401


def test_right_sign_ins_earn_no_failures_in_advance(make_app: MakeApp) -> None:
    client = make_app(sign_in_failures_per_address=3).test_client()
    register(client, "ada")
    for _ in range(4):
        assert attempt(client, "ada", PASSWORD).status_code == 200
    statuses = [attempt(client, "ada", "wrong password").status_code for _ in range(4)]
    assert statuses == [401, 401, 401, 429]


def test_the_wait_that_an_address_is_told_is_enough_and_not_longer(
    make_app: MakeApp, moving_clock: Clock
) -> None:
    client = make_app(sign_in_failures_per_address=1).test_client()
    register(client, "ada")
    attempt(client, "ada", "wrong password")
    moving_clock.forward(minutes=5, milliseconds=500)
    refused = attempt(client, "ada", PASSWORD)
    assert refused.status_code == 429
    wait = int(refused.headers["Retry-After"])
    moving_clock.forward(seconds=wait - 1)
    assert attempt(client, "ada", PASSWORD).status_code == 429
    moving_clock.forward(seconds=1)
    assert attempt(client, "ada", PASSWORD).status_code == 200


def test_an_address_is_free_again_when_its_window_ends(
    make_app: MakeApp, moving_clock: Clock
) -> None:
    client = make_app(sign_in_failures_per_address=1).test_client()
    register(client, "ada")
    attempt(client, "ada", "wrong password")
    moving_clock.forward(minutes=15)
    assert attempt(client, "ada", PASSWORD).status_code == 200


def test_a_right_sign_in_forgives_the_failures_before_it(ada: Person) -> None:
    for _ in range(3):
        for _ in range(FAILURES_PER_ACCOUNT - 1):
            attempt(ada.client, "ada", "wrong password")
        assert attempt(ada.client, "ada", PASSWORD).status_code == 200


def test_an_address_that_fails_on_many_accounts_is_told_to_wait(make_app: MakeApp) -> None:
    client = make_app(sign_in_failures_per_address=5).test_client()
    register(client, "ada")
    for number in range(5):
        assert attempt(client, f"user{number}", "wrong password").status_code == 401
    refused = attempt(client, "ada", PASSWORD)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 15 * 60
    assert attempt(client, "ada", PASSWORD, ELSEWHERE).status_code == 200


def test_sign_ins_that_are_right_use_up_nothing(make_app: MakeApp) -> None:
    client = make_app(sign_in_failures_per_address=3).test_client()
    register(client, "ada")
    for _ in range(6):
        assert attempt(client, "ada", PASSWORD).status_code == 200


def test_ipv6_counts_by_the_network_of_a_subscriber(ada: Person) -> None:
    for number in range(FAILURES_PER_ACCOUNT):
        attempt(ada.client, "ada", "wrong password", f"2001:db8:0:1::{number:x}")
    assert attempt(ada.client, "ada", PASSWORD, "2001:db8:0:1:ffff::1").status_code == 401
    assert attempt(ada.client, "ada", PASSWORD, "2001:db8:0:2::1").status_code == 200


def test_a_forwarded_address_counts_only_with_the_dashboards_proof(make_app: MakeApp) -> None:
    secret = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c"
    client = make_app(client_address_secret=secret).test_client()
    ada = Person(client, "ada")
    for number in range(FAILURES_PER_ACCOUNT):
        forged = {"X-Client-Address": f"203.0.113.{number}", "X-Client-Address-Proof": "0" * 64}
        attempt(client, "ada", "wrong password", **forged)
    assert attempt(client, "ada", PASSWORD).status_code == 401, "all counted for the connection"
    vouched = forwarded_headers("203.0.113.77", secret)
    assert attempt(client, "ada", PASSWORD, **vouched).status_code == 200
    newest = ada.call("GET", "/users/me/sessions").get_json()["items"][0]
    assert newest["address"] == "203.0.113.77"


def test_guesses_of_the_current_password_count_as_failures_too(ada: Person) -> None:
    body = {"current_password": "wrong password", "new_password": "another long one"}
    for _ in range(FAILURES_PER_ACCOUNT):
        assert ada.call("PUT", "/users/me/password", json=body).status_code == 422
    right = {**body, "current_password": PASSWORD}
    assert ada.call("PUT", "/users/me/password", json=right).status_code == 422
    assert ada.sign_in().status_code == 401


def test_right_confirmations_of_the_password_use_up_nothing(make_app: MakeApp) -> None:
    ada = Person(make_app(sign_in_failures_per_address=5).test_client(), "ada")
    body = {"current_password": PASSWORD, "full_name": "Ada", "username": "ada"}
    for number in range(FAILURES_PER_ACCOUNT + 2):
        changed = {**body, "username": f"ada{number}"}
        assert ada.call("PATCH", "/users/me", json=changed).status_code == 200


def test_nobody_elses_password_confirms(admin: Person, ada: Person) -> None:
    body = {"current_password": PASSWORD, "new_password": "another long one"}
    assert ada.call("PUT", "/users/me/password", json=body).status_code == 204
    assert admin.sign_in(PASSWORD).status_code == 200
    again = {**body, "new_password": "yet another long one"}
    assert ada.call("PUT", "/users/me/password", json=again).status_code == 422


def test_an_address_that_hammers_confirms_nothing_either(make_app: MakeApp) -> None:
    ada = Person(make_app(sign_in_failures_per_address=1).test_client(), "ada")
    body = {"current_password": PASSWORD, "new_password": "another long one"}
    attempt(ada.client, "nobody", "wrong password", HOME)
    here = {"environ_base": {"REMOTE_ADDR": HOME}}
    assert ada.call("PUT", "/users/me/password", json=body, **here).status_code == 429
    assert ada.call("PUT", "/users/me/password", json=body).status_code == 204


@pytest.mark.parametrize("call", ["sign in", "confirm"])
def test_no_connection_is_held_while_a_password_is_hashed(
    app: Flask, ada: Person, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    held: list[bool] = []
    with app.app_context():
        hasher = parts().hasher
    matches = hasher.matches

    def watched(*given: Any) -> bool:
        held.append(db.session().in_transaction())
        return bool(matches(*given))

    monkeypatch.setattr(hasher, "matches", watched)
    if call == "sign in":
        assert ada.sign_in().status_code == 200
    else:
        body = {"current_password": PASSWORD, "new_password": "another long one"}
        assert ada.call("PUT", "/users/me/password", json=body).status_code == 204
    assert held == [False]


@pytest.mark.parametrize("change", ["password", "deletion"])
def test_a_sign_in_fails_if_the_account_changes_while_its_password_is_hashed(
    app: Flask, admin: Person, ada: Person, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    with app.app_context():
        hasher = parts().hasher
    matches = hasher.matches

    def overtaken(*given: Any) -> bool:
        if change == "deletion":
            db.session.execute(delete(User).where(User.id == ada.id))
        else:
            new_hash = hasher.hash("another long one", ELSEWHERE)
            db.session.execute(
                update(User).where(User.id == ada.id).values(hashed_password=new_hash)
            )
        db.session.commit()
        return bool(matches(*given))

    monkeypatch.setattr(hasher, "matches", overtaken)
    assert attempt(ada.client, "ada", PASSWORD).status_code == 401


def test_the_throttle_keeps_no_name_and_no_address_in_clear(app: Flask, ada: Person) -> None:
    attempt(ada.client, "my secret typed here", "x")
    with app.app_context():
        rows = str(db.session.execute(select(SignInFailures.__table__)).all())
    assert "secret" not in rows
    assert HOME not in rows


def test_windows_that_are_over_are_removed(app: Flask, ada: Person, moving_clock: Clock) -> None:
    attempt(ada.client, "ada", "wrong password")
    moving_clock.forward(minutes=16)
    with app.app_context():
        housekeeping.remove_expired()
        left = db.session.scalar(select(func.count()).select_from(SignInFailures))
    assert left == 0
