"""Accounts: registered, read, changed, searched, disabled and deleted."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from chassis.errors import Forbidden
from tests.unit.users.conftest import PASSWORD, MakeApp, Person, register
from users_app.accounts import change
from users_app.origin import Origin


def test_a_registration_answers_the_account_without_its_password(client: FlaskClient) -> None:
    answer = register(client, "grace", full_name="Grace Hopper")
    account = answer.get_json()
    assert answer.status_code == 201
    assert set(account) == {
        "id", "email", "username", "full_name", "role", "is_active", "created_at", "updated_at",
    }  # fmt: skip
    assert account["email"] == "grace@example.com"
    assert account["full_name"] == "Grace Hopper"
    assert account["created_at"].endswith("Z")


def test_all_complaints_about_a_registration_come_at_once(client: FlaskClient) -> None:
    body = {"email": "nobody", "username": "a b", "password": "short", "full_name": 5, "x": 1}
    answer = client.post("/users", json=body)
    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    fields = {each["field"] for each in answer.get_json()["errors"]}
    assert fields == {"email", "username", "password", "full_name", "x"}


@pytest.mark.parametrize("given", ["role", "is_active", "id", "created_at", "hashed_password"])
def test_a_registration_can_not_set_what_is_not_its_to_set(client: FlaskClient, given: str) -> None:
    register(client, "first")
    answer = register(client, "mallory", **{given: "admin"})
    assert answer.status_code == 422
    assert [each["field"] for each in answer.get_json()["errors"]] == [given]


@pytest.mark.parametrize(
    ("first", "second"),
    [("Ada", "ada"), ("ada", "ａｄａ"), ("straße", "STRASSE"), ("ﬁona", "fiona")],
)
def test_usernames_are_one_after_nfkc_and_casefolding(
    client: FlaskClient, first: str, second: str
) -> None:
    assert register(client, first, email="one@example.com").status_code == 201
    answer = register(client, second, email="two@example.com")
    assert answer.status_code == 409
    assert [each["field"] for each in answer.get_json()["errors"]] == ["username"]


def test_a_conflict_names_each_field_that_is_taken(ada: Person) -> None:
    answer = register(ada.client, "ADA", email="Ada@EXAMPLE.com")
    assert answer.status_code == 409
    assert {each["field"] for each in answer.get_json()["errors"]} == {"email", "username"}


def test_the_first_account_is_admin_and_the_second_is_not(client: FlaskClient) -> None:
    assert register(client, "first").get_json()["role"] == "admin"
    assert register(client, "second").get_json()["role"] == "viewer"


def test_without_the_setting_even_the_first_account_is_a_viewer(make_app: MakeApp) -> None:
    client = make_app(first_account_is_admin=False).test_client()
    assert register(client, "first").get_json()["role"] == "viewer"


def test_the_setting_turned_on_later_makes_nobody_admin(make_app: MakeApp) -> None:
    register(make_app(first_account_is_admin=False).test_client(), "first")
    client = make_app(first_account_is_admin=True).test_client()
    assert register(client, "second").get_json()["role"] == "viewer"


def test_nobody_is_first_even_when_all_accounts_are_gone(make_app: MakeApp) -> None:
    early = Person(make_app(first_account_is_admin=False).test_client(), "early")
    gone = early.call("DELETE", "/users/me", json={"current_password": PASSWORD})
    assert gone.status_code == 204
    client = make_app(first_account_is_admin=True).test_client()
    assert register(client, "later").get_json()["role"] == "viewer"


def test_closed_registration_is_closed(make_app: MakeApp) -> None:
    assert register(make_app(registration="closed").test_client(), "eve").status_code == 403


def test_me_is_the_account_that_is_signed_in(ada: Person) -> None:
    assert ada.call("GET", "/users/me").get_json() == ada.account
    assert ada.call("GET", f"/users/{ada.id}").get_json() == ada.account


def test_a_profile_changes_only_where_something_was_sent(ada: Person) -> None:
    changed = ada.call("PATCH", "/users/me", json={"full_name": "Ada Lovelace"}).get_json()
    assert changed["full_name"] == "Ada Lovelace"
    assert changed["username"] == ada.account["username"]
    assert changed["updated_at"] > ada.account["updated_at"]
    assert ada.call("PATCH", "/users/me", json={}).get_json() == changed
    assert ada.call("PATCH", "/users/me", json={"full_name": None}).get_json()["full_name"] is None


@pytest.mark.parametrize("field", ["email", "username"])
def test_a_name_that_must_be_there_can_not_be_emptied(ada: Person, field: str) -> None:
    for value in (None, ""):
        answer = ada.call("PATCH", "/users/me", json={field: value, "current_password": PASSWORD})
        assert answer.status_code == 422


NEW_NAMES = [{"email": "countess@example.com"}, {"username": "countess"}]


@pytest.mark.parametrize("new", NEW_NAMES)
@pytest.mark.parametrize("path", ["/users/me", "/users/2"])
def test_a_change_of_email_or_username_needs_the_current_password(
    ada: Person, new: dict[str, str], path: str
) -> None:
    before = ada.call("GET", "/users/me").get_json()
    for body in (new, {**new, "current_password": "wrong password"}):
        answer = ada.call("PATCH", path, json={"full_name": "Not this one", **body})
        assert answer.status_code == 422
        assert answer.get_json()["errors"][0]["field"] == "current_password"
    assert ada.call("GET", "/users/me").get_json() == before
    answer = ada.call("PATCH", path, json={**new, "current_password": PASSWORD})
    assert answer.get_json() == {**before, **new, "updated_at": answer.get_json()["updated_at"]}


@pytest.mark.parametrize("new", NEW_NAMES)
def test_an_admin_needs_the_password_too_for_the_own_names_alone(
    admin: Person, ada: Person, new: dict[str, str]
) -> None:
    assert admin.call("PATCH", f"/users/{admin.id}", json=new).status_code == 422
    assert admin.call("PATCH", f"/users/{ada.id}", json=new).status_code == 200


def test_names_that_stay_need_no_password(ada: Person) -> None:
    body = {"email": ada.email, "username": "ada", "full_name": "Ada L"}
    assert ada.call("PATCH", "/users/me", json=body).get_json()["full_name"] == "Ada L"


def test_a_change_to_a_taken_name_is_a_conflict(admin: Person, ada: Person) -> None:
    answer = ada.call("PATCH", "/users/me", json={"username": "ROOT", "current_password": PASSWORD})
    assert answer.status_code == 409
    assert answer.get_json()["errors"][0]["field"] == "username"


def test_a_name_may_change_its_own_spelling(ada: Person) -> None:
    body = {"username": "Ada", "current_password": PASSWORD}
    assert ada.call("PATCH", "/users/me", json=body).get_json()["username"] == "Ada"


@pytest.mark.parametrize("body", [{"role": "admin"}, {"is_active": True}])
def test_role_and_standing_are_the_admins_to_change(ada: Person, body: dict[str, object]) -> None:
    assert ada.call("PATCH", f"/users/{ada.id}", json=body).status_code == 403
    assert ada.call("PATCH", "/users/me", json=body).status_code == 422
    assert ada.call("GET", "/users/me").get_json()["role"] == "viewer"


def test_a_foreign_account_is_answered_as_a_missing_one(admin: Person, ada: Person) -> None:
    for method in ("GET", "PATCH", "DELETE"):
        body: dict[str, str] | None = {} if method == "PATCH" else None
        foreign = ada.call(method, f"/users/{admin.id}", json=body).get_json()
        missing = ada.call(method, "/users/999", json=body).get_json()
        assert foreign["status"] == 404
        assert {**foreign, "request_id": ""} == {**missing, "request_id": ""}


def test_an_admin_changes_roles_and_they_hold_at_once(admin: Person, ada: Person) -> None:
    assert ada.call("GET", "/users").status_code == 403
    changed = admin.call("PATCH", f"/users/{ada.id}", json={"role": "admin"})
    assert changed.get_json()["role"] == "admin"
    assert ada.call("GET", "/users").status_code == 200


def test_a_disabled_account_is_signed_out_and_stays_out(admin: Person, ada: Person) -> None:
    admin.call("PATCH", f"/users/{ada.id}", json={"is_active": False})
    assert ada.call("GET", "/users/me").status_code == 401
    assert ada.refresh().status_code == 400
    assert ada.sign_in().status_code == 401
    admin.call("PATCH", f"/users/{ada.id}", json={"is_active": True})
    assert ada.refresh().status_code == 400, "a session that ended stays ended"
    assert ada.sign_in().status_code == 200


def test_the_last_active_admin_stays(admin: Person, ada: Person) -> None:
    path = f"/users/{admin.id}"
    mine = {"current_password": PASSWORD}
    assert admin.call("PATCH", path, json={"role": "viewer"}).status_code == 409
    assert admin.call("PATCH", path, json={"is_active": False}).status_code == 409
    assert admin.call("DELETE", path, json=mine).status_code == 409
    assert admin.call("DELETE", "/users/me", json=mine).status_code == 409
    admin.call("PATCH", f"/users/{ada.id}", json={"role": "admin"})
    assert admin.call("PATCH", path, json={"role": "viewer"}).status_code == 200


def test_a_disabled_admin_does_not_count_as_one(admin: Person, ada: Person) -> None:
    admin.call("PATCH", f"/users/{ada.id}", json={"role": "admin", "is_active": False})
    assert admin.call("PATCH", f"/users/{admin.id}", json={"role": "viewer"}).status_code == 409


def test_who_was_demoted_meanwhile_takes_nothing_back(
    app: Flask, admin: Person, ada: Person
) -> None:
    """The call had passed at the door, and waited for the demotion to be stored."""
    acting = Origin("192.0.2.1", actor_id=ada.id)
    with app.app_context():
        with pytest.raises(Forbidden):
            change.change_account(ada.id, {"role": "admin"}, acting)
        with pytest.raises(Forbidden):
            change.delete_account(admin.id, acting)
    assert ada.call("GET", "/users/me").get_json()["role"] == "viewer"
    assert admin.call("GET", "/users/me").status_code == 200


def test_deleting_oneself_needs_the_password(ada: Person) -> None:
    for path in ("/users/me", f"/users/{ada.id}"):
        wrong = ada.call("DELETE", path, json={"current_password": "not this one"})
        assert wrong.status_code == 422
    answer = ada.call("DELETE", "/users/me", json={"current_password": PASSWORD})
    assert answer.status_code == 204
    assert ada.call("GET", "/users/me").status_code == 401
    assert ada.sign_in().status_code == 401


def test_an_admin_deletes_another_without_a_password(admin: Person, ada: Person) -> None:
    assert admin.call("DELETE", f"/users/{ada.id}").status_code == 204
    assert admin.call("GET", f"/users/{ada.id}").status_code == 404


def test_a_deleted_id_never_comes_back(admin: Person, ada: Person) -> None:
    admin.call("DELETE", f"/users/{ada.id}")
    assert register(ada.client, "newcomer").get_json()["id"] > ada.id


def test_accounts_are_listed_page_by_page_newest_first(admin: Person) -> None:
    names = [f"user{number}" for number in range(5)]
    for name in names:
        register(admin.client, name)
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = admin.call("GET", f"/users?limit=2{cursor}").get_json()
        seen += [each["username"] for each in page["items"]]
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    assert seen == [*reversed(names), "root"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=LOVELACE", ["ada"]),
        ("q=ada@example", ["ada"]),
        ("q=%25", []),
        ("q=_", []),
        ("q=ÄNNE", ["bob"]),
        ("role=admin", ["root"]),
        ("is_active=false", ["bob"]),
        ("is_active=true&role=viewer", ["ada"]),
    ],
)
def test_accounts_are_found_by_text_role_and_standing(
    admin: Person, ada: Person, query: str, found: list[str]
) -> None:
    ada.call("PATCH", "/users/me", json={"full_name": "Ada Lovelace"})
    bob = register(ada.client, "bob", full_name="Bob Änne").get_json()
    admin.call("PATCH", f"/users/{bob['id']}", json={"is_active": False})
    page = admin.call("GET", f"/users?{query}").get_json()
    assert [each["username"] for each in page["items"]] == found


def test_a_list_answers_only_the_fields_asked_for(admin: Person) -> None:
    page = admin.call("GET", "/users?fields=id,username").get_json()
    assert page["items"] == [{"id": admin.id, "username": "root"}]
    assert admin.call("GET", "/users?fields=hashed_password").status_code == 422
    assert admin.call("GET", "/users?cursor=nonsense").status_code == 422


def test_accounts_are_listed_by_their_ids(admin: Person, ada: Person) -> None:
    def found(query: str) -> list[str]:
        items = admin.call("GET", f"/users?{query}&fields=id,username").get_json()["items"]
        return [each["username"] for each in items]

    assert found(f"id={ada.id}&id={admin.id}&id=999999") == ["ada", "root"]
    assert found(f"id={ada.id}&role=admin") == []
    many = "&".join(f"id={n}" for n in range(1, 102))
    for bad in ("id=x", "id=0", many):
        assert admin.call("GET", f"/users?{bad}").status_code == 422
