"""The audit trail: keys, exports and erasures, by whom and from where, and no way to touch it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from analytics_app import audit, erasure
from analytics_app.models import db
from tests.unit.analytics.conftest import Api

PATH = "/analytics/audit"
KEYS = "/analytics/api-keys"


def entries(admin: Api, **query: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = admin.get(PATH, **query)["items"]
    return items


def new_key(admin: Api, *scopes: str) -> Any:
    return admin.call("POST", KEYS, json={"name": "importer", "scopes": list(scopes)}).get_json()


def test_making_and_deleting_a_key_is_there_with_who_did_it(admin: Api) -> None:
    made = new_key(admin, "events:write", "events:read")
    admin.call("DELETE", f"{KEYS}/{made['id']}")
    deleted, created = entries(admin)
    assert (created["action"], created["actor_kind"], created["actor_id"]) == (
        "key_created", "user", 1,
    )  # fmt: skip
    which = {"key_id": made["id"], "prefix": made["key"][:10]}
    which["scopes"] = "events:read events:write"
    assert created["details"] == which
    assert (deleted["action"], deleted["details"]) == ("key_deleted", which)


def test_an_entry_says_when_from_where_and_in_which_request(admin: Api) -> None:
    before = datetime.now(UTC)
    admin.call(
        "POST",
        KEYS,
        json={"name": "x", "scopes": ["reports:read"]},
        headers={"X-Request-ID": "my-request"},
        environ_base={"REMOTE_ADDR": "192.0.2.9"},
    )
    (entry,) = entries(admin)
    assert (entry["address"], entry["request_id"]) == ("192.0.2.9", "my-request")
    assert before <= datetime.fromisoformat(entry["created_at"]) <= datetime.now(UTC)


def test_an_export_is_there_by_account_and_by_key(app: Flask, admin: Api, analyst: Api) -> None:
    analyst.call("GET", "/analytics/export", query_string={"format": "csv", "user_id": 7})
    made = new_key(admin, "events:read")
    Api(app.test_client(), made["key"]).call("GET", "/analytics/export")
    by_key, by_account = entries(admin, action="events_exported")
    assert (by_account["actor_kind"], by_account["actor_id"]) == ("user", 2)
    assert (by_account["account_id"], by_account["details"]) == (7, {"format": "csv"})
    assert (by_key["actor_kind"], by_key["actor_id"]) == ("key", made["id"])


def test_an_erasure_is_there_by_admin_and_by_the_users_service(
    admin: Api, users_service: Api
) -> None:
    admin.call("DELETE", "/analytics/users/7/events")
    admin.call("DELETE", "/analytics/visitors/some-visitor/events")
    users_service.call("DELETE", "/analytics/users/8/events")
    service, visitor, user = entries(admin, action="events_erased")
    assert (user["actor_id"], user["account_id"], user["details"]) == (1, 7, {"for_ever": False})
    assert (visitor["account_id"], visitor["details"]) == (None, {"for_ever": False})
    assert (service["actor_kind"], service["actor_id"], service["account_id"]) == (
        "service", None, 8,
    )  # fmt: skip
    assert service["details"] == {"for_ever": True}


def test_a_command_leaves_an_entry_too(app: Flask, admin: Api) -> None:
    erasure.erase(db, 9, datetime.now(UTC), for_ever=False)
    (entry,) = entries(admin)
    assert (entry["actor_kind"], entry["address"]) == ("command", "command line")


def test_the_trail_is_read_page_by_page_and_by_who_did_it(admin: Api, analyst: Api) -> None:
    for _ in range(3):
        new_key(admin, "reports:read")
    analyst.call("GET", "/analytics/export")
    first = admin.get(PATH, limit=2)
    rest = admin.get(PATH, cursor=first["next_cursor"])
    ids = [each["id"] for each in first["items"] + rest["items"]]
    assert ids == sorted(ids, reverse=True)
    assert (len(ids), rest["next_cursor"]) == (4, None)
    assert [each["action"] for each in entries(admin, actor_id=2)] == ["events_exported"]
    assert entries(admin, actor_kind="key") == []
    assert entries(admin, account_id=5) == []
    assert entries(admin, limit=1, fields="action") == [{"action": "events_exported"}]


def test_an_account_and_a_key_of_the_same_number_are_told_apart(app: Flask, admin: Api) -> None:
    made = new_key(admin, "events:read")  # both are number 1
    assert made["id"] == 1
    Api(app.test_client(), made["key"]).call("GET", "/analytics/export")
    assert [each["action"] for each in entries(admin, actor_id=1)] == ["key_created"]
    of_key = entries(admin, actor_id=1, actor_kind="key")
    assert [each["action"] for each in of_key] == ["events_exported"]


def test_what_fails_leaves_no_entry(admin: Api) -> None:
    assert admin.call("DELETE", f"{KEYS}/999").status_code == 404
    assert admin.call("POST", KEYS, json={"name": "x", "scopes": []}).status_code == 422
    assert entries(admin) == []


def test_a_change_whose_entry_can_not_be_kept_is_not_made(
    admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(audit, "origin", lambda: {**audit.COMMAND, "actor_kind": None})
        assert new_key(admin, "events:read")["status"] == 500
    assert admin.get(KEYS)["items"] == []


@pytest.mark.parametrize(
    "statement", ["UPDATE audit SET action = 'nothing'", "DELETE FROM audit", "TRUNCATE audit"]
)
def test_the_database_itself_refuses_to_change_the_trail(admin: Api, statement: str) -> None:
    new_key(admin, "events:read")
    with pytest.raises(DBAPIError):
        db.session.execute(text(statement))
    db.session.rollback()
    assert [each["action"] for each in entries(admin)] == ["key_created"]


def test_no_route_changes_the_trail(app: Flask) -> None:
    methods = {
        method
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith(PATH)
        for method in rule.methods or ()
    }
    assert methods == {"GET", "HEAD", "OPTIONS"}
