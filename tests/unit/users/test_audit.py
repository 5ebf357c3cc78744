"""The audit trail: every change, by whom and from where, and no way to touch it."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from chassis.schema import rfc3339
from tests.unit.users.conftest import PASSWORD, Clock, MakeApp, Person, mentions, register
from users_app.models import db
from users_app.throttle import FAILURES_PER_ACCOUNT

SIGN_INS = ("signed_in", "sign_in_failed", "password_refused", "address_throttled")
HOME, ELSEWHERE = "192.0.2.1", "198.51.100.7"


def trail(admin: Person, query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = admin.call("GET", f"/audit{query}").get_json()["items"]
    return items


def entries(admin: Person, query: str = "") -> list[dict[str, Any]]:
    """Returns the trail without sign-ins."""
    return [each for each in trail(admin, query) if each["action"] not in SIGN_INS]


def sign_ins(admin: Person) -> list[tuple[Any, ...]]:
    """Returns the sign-ins and what else concerns them, oldest first."""
    kept = ("action", "account_id", "actor_id", "address", "user_agent", "details")
    found = [each for each in trail(admin, "?limit=500") if each["action"] in SIGN_INS]
    return [tuple(each[name] for name in kept) for each in found[::-1]]


def attempt(admin: Person, name: str, password: str, address: str = HOME) -> int:
    return admin.client.post(
        "/login",
        json={"username": name, "password": password},
        headers={"User-Agent": "Firefox"},
        environ_base={"REMOTE_ADDR": address},
    ).status_code


def test_every_sign_in_is_there_with_account_address_and_agent(admin: Person, ada: Person) -> None:
    before = len(sign_ins(admin))
    attempt(admin, "ada", PASSWORD)
    attempt(admin, "ADA@example.com", "my wrong password", ELSEWHERE)
    attempt(admin, "my password, typed into the wrong field", PASSWORD)
    attempt(admin, "nobody@example.com", PASSWORD)
    admin.call("PATCH", f"/users/{ada.id}", json={"is_active": False})
    attempt(admin, "ada", PASSWORD)
    unknown = ("sign_in_failed", None, None, HOME, "Firefox", {"reason": "unknown_account"})
    assert sign_ins(admin)[before:] == [
        ("signed_in", ada.id, ada.id, HOME, "Firefox", {"method": "password"}),
        ("sign_in_failed", ada.id, None, ELSEWHERE, "Firefox", {"reason": "wrong_password"}),
        unknown,
        unknown,
        ("sign_in_failed", ada.id, None, HOME, "Firefox", {"reason": "disabled"}),
    ]
    assert "typed" not in str(trail(admin))
    assert "nobody" not in str(trail(admin))


def test_a_sign_in_by_token_is_there_too(admin: Person) -> None:
    before = len(sign_ins(admin))
    for password in (PASSWORD, "wrong password"):
        form = {"grant_type": "password", "username": "root", "password": password}
        admin.client.post("/token", data=form)
    assert [each[0] for each in sign_ins(admin)[before:]] == ["signed_in", "sign_in_failed"]


def test_guesses_of_the_current_password_are_there(admin: Person, ada: Person) -> None:
    before = len(sign_ins(admin))
    ada.call("DELETE", "/users/me", json={"current_password": "wrong password"})
    ((action, account, actor, _, _, details),) = sign_ins(admin)[before:]
    assert (action, account, actor) == ("password_refused", ada.id, ada.id)
    assert details == {"reason": "wrong_password"}
    for _ in range(FAILURES_PER_ACCOUNT + 5):
        ada.call("DELETE", "/users/me", json={"current_password": "wrong password"})
    reasons = [each[-1]["reason"] for each in sign_ins(admin)[before:]]
    assert reasons == ["wrong_password"] * FAILURES_PER_ACCOUNT + ["locked"]


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_a_stranger_makes_the_trail_no_longer_than_the_throttle_lets(
    admin: Person, ada: Person, name: str
) -> None:
    before = len(sign_ins(admin))
    for _ in range(FAILURES_PER_ACCOUNT + 20):
        assert attempt(admin, name, "wrong password") == 401
    found = sign_ins(admin)[before:]
    assert len(found) == FAILURES_PER_ACCOUNT + 1
    if name == "ada":
        assert found[-1][-1] == {"reason": "locked"}


def test_failures_under_one_unknown_name_hide_none_under_another(admin: Person) -> None:
    before = len(sign_ins(admin))
    for number in range(FAILURES_PER_ACCOUNT + 5):
        attempt(admin, f"nobody{number}", "wrong password")
    assert len(sign_ins(admin)) - before == FAILURES_PER_ACCOUNT + 5


def test_an_address_that_is_refused_is_in_the_trail_once(make_app: MakeApp) -> None:
    admin = Person(make_app(sign_in_failures_per_address=5).test_client(), "root")
    before = len(sign_ins(admin))
    statuses = [attempt(admin, f"nobody{number}", "wrong password") for number in range(9)]
    assert statuses == [401] * 5 + [429] * 4
    found = sign_ins(admin)[before:]
    assert [each[0] for each in found] == ["sign_in_failed"] * 5 + ["address_throttled"]
    assert found[-1][-1] == {"failures": 5}


def test_every_change_of_an_account_is_there_with_who_did_it(admin: Person, ada: Person) -> None:
    ada.call("PATCH", "/users/me", json={"full_name": "Ada L"})
    body = {"current_password": PASSWORD, "new_password": "another long one"}
    ada.call("PUT", "/users/me/password", json=body)
    for change in ({"role": "analyst"}, {"is_active": False}, {"is_active": True}):
        admin.call("PATCH", f"/users/{ada.id}", json=change)
    admin.call("DELETE", f"/users/{ada.id}")
    found = entries(admin, f"?account_id={ada.id}")[::-1]
    assert [(each["action"], each["actor_id"], each["details"]) for each in found] == [
        ("registered", None, {"registration": "open", "role": "viewer"}),
        ("updated", ada.id, {"fields": ["full_name"]}),
        ("password_changed", ada.id, {"how": "change"}),
        ("role_changed", admin.id, {"from": "viewer", "to": "analyst"}),
        ("deactivated", admin.id, {}),
        ("reactivated", admin.id, {}),
        ("deleted", admin.id, {"by": "admin"}),
    ]


def test_an_entry_says_when_from_where_and_in_which_request(
    admin: Person, moving_clock: Clock
) -> None:
    admin.call(
        "PATCH",
        "/users/me",
        json={"full_name": "Root"},
        headers={"X-Request-ID": "my-request"},
        environ_base={"REMOTE_ADDR": "192.0.2.9"},
    )
    (entry,) = entries(admin, "?action=updated")
    assert entry["created_at"] == rfc3339(moving_clock())
    assert (entry["address"], entry["request_id"]) == ("192.0.2.9", "my-request")
    assert (entry["actor_username"], entry["account_username"]) == ("root", "root")


def test_a_deleted_accounts_entries_stay_and_hold_no_name(admin: Person, ada: Person) -> None:
    ada.call("PATCH", "/users/me", json={"full_name": "Ada Lovelace"})
    assert mentions(entries(admin, f"?account_id={ada.id}"), "ada")
    admin.call("DELETE", f"/users/{ada.id}")
    found = entries(admin, f"?account_id={ada.id}")
    assert {each["action"] for each in found} == {"registered", "updated", "deleted"}
    assert not mentions(found, "ada")


def test_invites_and_sign_outs_are_there_too(admin: Person) -> None:
    made = admin.call("POST", "/invites", json={}).get_json()
    admin.call("DELETE", f"/invites/{made['id']}")
    session = admin.call("GET", "/users/me/sessions").get_json()["items"][0]["id"]
    admin.sign_in()
    found = [each["action"] for each in entries(admin)]
    assert found == ["invite_withdrawn", "invited", "registered"]
    admin.call("DELETE", f"/users/me/sessions/{session}")
    admin.tokens = admin.sign_in().get_json()
    admin.call("POST", "/logout")
    admin.tokens = admin.sign_in().get_json()
    assert [each["action"] for each in entries(admin)][:2] == ["signed_out", "session_ended"]


def test_the_trail_is_read_page_by_page_and_by_who_did_it(admin: Person, ada: Person) -> None:
    ada.call("PATCH", "/users/me", json={"full_name": "Ada L"})
    first = admin.call("GET", "/audit?limit=2").get_json()
    rest = admin.call("GET", f"/audit?cursor={first['next_cursor']}").get_json()
    ids = [each["id"] for each in first["items"] + rest["items"]]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 5
    assert [each["action"] for each in entries(admin, f"?actor_id={ada.id}")] == ["updated"]


def test_a_change_that_fails_leaves_no_entry(admin: Person, ada: Person) -> None:
    before = len(entries(admin))
    register(ada.client, "ADA", email="new@example.com")
    ada.call("PATCH", "/users/me", json={"username": "root", "current_password": PASSWORD})
    assert len(entries(admin)) == before


@pytest.mark.parametrize(
    "statement", ["UPDATE audit SET action = 'nothing'", "DELETE FROM audit", "TRUNCATE audit"]
)
def test_the_database_itself_refuses_to_change_the_trail(
    app: Flask, admin: Person, statement: str
) -> None:
    with app.app_context():
        with pytest.raises(DBAPIError):
            db.session.execute(text(statement))
        db.session.rollback()
    assert [each["action"] for each in entries(admin)] == ["registered"]


def test_no_route_changes_the_trail(app: Flask) -> None:
    methods = {
        method
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/audit")
        for method in rule.methods or ()
    }
    assert methods == {"GET", "HEAD", "OPTIONS"}
