"""Lists of the users service, and query strings: every route, by one mechanism."""

from __future__ import annotations

from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from tests import every_route
from tests.unit.users.conftest import Person


def caller(admin: Person) -> every_route.Call:
    def call(method: str, rule: str, **given: Any) -> TestResponse:
        path = rule.replace("<id:user_id>", str(admin.id))
        for name in ("<id:session_id>", "<id:invite_id>"):
            path = path.replace(name, "99999")
        return admin.call(method, path, **given)

    return call


def test_every_list_takes_limit_cursor_and_fields(app: Flask, admin: Person) -> None:
    assert set(every_route.lists(app)) == {
        "GET /users",
        "GET /users/me/sessions",
        "GET /invites",
        "GET /audit",
    }
    assert every_route.unheeded_paging(app, caller(admin), {}) == []


def test_nothing_is_listed_without_pages(app: Flask) -> None:
    unpaged = [
        rule
        for _, rule, operation in every_route.operations(app)
        if every_route.answers_with(operation, "items")
        and not every_route.answers_with(operation, "next_cursor")
    ]
    assert unpaged == []


def test_every_route_refuses_an_unknown_name_in_the_query(app: Flask, admin: Person) -> None:
    assert every_route.unheeded_names(app, caller(admin)) == []


def test_only_what_foreign_programs_call_takes_any_name(app: Flask, admin: Person) -> None:
    foreign = {rule for _, rule, it in every_route.operations(app) if it.any_query}
    assert foreign == {"/token", "/.well-known/jwks.json", "/.well-known/revoked"}
    assert every_route.routes_beside(app) == every_route.BESIDE
    for path in (*every_route.BESIDE, *foreign - {"/token"}):
        assert admin.client.get(f"{path}?utm_source=x&x=1&x=2").status_code == 200
    form = {"grant_type": "refresh_token", "refresh_token": admin.tokens["refresh_token"]}
    assert admin.client.post("/token?x=1&x=2", data=form).status_code == 200


def test_a_list_of_nothing_knows_its_fields_too(admin: Person) -> None:
    assert admin.call("GET", "/invites?fields=id,email").get_json()["items"] == []
    assert admin.call("GET", "/invites?fields=id,nope").status_code == 422


def test_sessions_come_in_pages_that_use_does_not_reorder(admin: Person) -> None:
    others = [admin.sign_in().get_json()["refresh_token"] for _ in range(6)]
    found: list[dict[str, Any]] = []
    cursor = ""
    while cursor is not None:
        more = f"&cursor={cursor}" if cursor else ""
        path = f"/users/me/sessions?limit=3&fields=id,current{more}"
        page = admin.call("GET", path).get_json()
        found += page["items"]
        cursor = page["next_cursor"]
        admin.refresh(others.pop(0))
    assert len({each["id"] for each in found}) == len(found) == 7
    assert [each["current"] for each in found] == [False] * 6 + [True]
    assert set(found[0]) == {"id", "current"}


def test_a_cursor_of_one_list_is_none_of_another(admin: Person) -> None:
    for _ in range(2):
        admin.sign_in()
        admin.call("POST", "/invites", json={})
    for path, other in (("/invites", "/users/me/sessions"), ("/audit", "/users")):
        cursor = admin.call("GET", f"{path}?limit=1").get_json()["next_cursor"]
        assert admin.call("GET", f"{path}?limit=1&cursor={cursor}").status_code == 200
        assert admin.call("GET", f"{other}?cursor={cursor}").status_code == 422
