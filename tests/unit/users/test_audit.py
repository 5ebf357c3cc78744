"""The audit trail: every change, by whom and from where, and no way to touch it."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from chassis.schema import rfc3339
from tests.unit.users.conftest import PASSWORD, Clock, Person, register
from users_app.models import db


def entries(admin: Person, query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = admin.call("GET", f"/audit{query}").get_json()["items"]
    return items


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
    admin.call("DELETE", f"/users/{ada.id}")
    found = entries(admin, f"?account_id={ada.id}")
    assert {each["action"] for each in found} == {"registered", "updated", "deleted"}
    assert "ada" not in str(found).lower()


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
    assert len(ids) == 3
    assert [each["action"] for each in entries(admin, f"?actor_id={ada.id}")] == ["updated"]


def test_a_change_that_fails_leaves_no_entry(admin: Person, ada: Person) -> None:
    before = len(entries(admin))
    register(ada.client, "ADA", email="new@example.com")
    ada.call("PATCH", "/users/me", json={"username": "root"})
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
