"""A form that comes again: its own success, and never a second thing or a false complaint."""

from __future__ import annotations

import re
from typing import Any

import pytest
from werkzeug.test import TestResponse

from chassis.client import ApiClient
from chassis.errors import Unavailable
from dashboard_app import forms
from dashboard_app.store import Store
from tests.unit.dashboard.conftest import PASSWORD, Browser, Person, Platform, text_of

NEW = "a new long password"
EVE = {"email": "eve@example.com", "username": "eve", "password": PASSWORD}


def hidden(page: str) -> dict[str, str]:
    """Returns the hidden fields of the page's last form."""
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))


def post(browser: Browser, path: str, form: dict[str, Any]) -> TestResponse:
    return browser.client.post(path, data=form)


def test_a_registration_whose_answer_was_lost_goes_on_with_the_same_form(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = platform.visitor()
    form = {**hidden(browser.get("/register").text), **EVE}
    call = ApiClient.call

    def lost(self: ApiClient, method: str, path: str, **given: Any) -> Any:
        call(self, method, path, **given)
        raise Unavailable("no answer")

    with monkeypatch.context() as silent:
        silent.setattr(ApiClient, "call", lost)
        answer = post(browser, "/register", form)
    assert answer.status_code == 503
    assert hidden(answer.text)["form_id"] == form["form_id"]
    again = post(browser, "/register", {**hidden(answer.text), **EVE})
    assert (again.status_code, again.location) == (303, "/")
    assert browser.get("/").status_code == 200


def test_the_way_back_to_the_form_and_its_button_lead_to_the_overview(platform: Platform) -> None:
    browser = platform.visitor()
    form = {**hidden(browser.get("/register").text), **EVE}
    for _ in range(3):
        answer = post(browser, "/register", form)
        assert (answer.status_code, answer.location) == (303, "/")
    mallory = {**form, "username": "mallory", "email": "mallory@example.com"}
    assert post(browser, "/register", mallory).location == "/", "and make no second account"
    assert platform.visitor().sign_in("mallory").status_code == 422


def test_a_made_up_token_is_still_refused_of_who_is_signed_in(platform: Platform) -> None:
    person = platform.person("ada")
    answer = post(person, "/register", {**EVE, "csrf_token": "made up"})
    assert answer.status_code == 403


def test_another_password_in_the_same_form_signs_nobody_in(platform: Platform) -> None:
    first, second = platform.visitor(), platform.visitor()
    form = {**hidden(first.get("/register").text), **EVE}
    assert post(first, "/register", form).status_code == 303
    answer = post(second, "/register", {**form, "password": "a guess at it"})
    assert answer.status_code == 409
    assert second.get("/").status_code == 302


def test_a_password_is_changed_once_and_the_second_click_is_told_so(platform: Platform) -> None:
    person = platform.person("ada")
    form = hidden(person.get("/settings").text)
    form |= {"current_password": PASSWORD, "new_password": NEW}
    for _ in range(2):
        answer = post(person, "/settings/password", form)
        assert (answer.status_code, answer.location) == (303, "/settings?done=password")
    later = hidden(person.get("/settings").text)
    wrong = post(person, "/settings/password", {**form, "form_id": later["form_id"]})
    assert wrong.status_code == 422, "a form of its own is judged by itself"


@pytest.fixture
def keys_page(admin: Person) -> dict[str, Any]:
    form = hidden(admin.get("/api-keys").text)
    return {**form, "name": "importer", "scopes": "events:write"}


def number_of_keys(person: Person) -> int:
    return len(re.findall(r'action="/api-keys/\d+/delete"', person.get("/api-keys").text))


def test_a_second_click_shows_the_key_again_and_makes_none(
    admin: Person, keys_page: dict[str, Any]
) -> None:
    first, second = (post(admin, "/api-keys", keys_page) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    shown = [set(re.findall(r"\bff\w*_[\w-]{20,}", each.text)) for each in (first, second)]
    assert shown[0] == shown[1] != set()
    assert number_of_keys(admin) == 1
    assert hidden(second.text)["form_id"] != keys_page["form_id"]


def test_the_same_name_in_a_new_form_is_a_second_key(
    admin: Person, keys_page: dict[str, Any]
) -> None:
    post(admin, "/api-keys", keys_page)
    post(admin, "/api-keys", {**keys_page, **hidden(admin.get("/api-keys").text)})
    assert number_of_keys(admin) == 2


def test_nobody_elses_session_gets_the_answer(
    platform: Platform, admin: Person, keys_page: dict[str, Any]
) -> None:
    first = post(admin, "/api-keys", keys_page)
    (key,) = set(re.findall(r"\bff\w*_[\w-]{20,}", first.text))
    other = platform.visitor()
    other.sign_in(admin.name)
    own = {**keys_page, "csrf_token": hidden(other.get("/api-keys").text)["csrf_token"]}
    assert key not in post(other, "/api-keys", own).text


def test_a_form_with_complaints_is_sent_again_as_itself(
    admin: Person, keys_page: dict[str, Any]
) -> None:
    refused = post(admin, "/api-keys", {**keys_page, "name": ""})
    assert refused.status_code == 422
    assert "Name" in text_of(refused)
    assert post(admin, "/api-keys", {**keys_page, **hidden(refused.text)}).status_code == 201
    assert number_of_keys(admin) == 1


def test_one_that_failed_may_be_sent_again_as_it_was(
    admin: Person, keys_page: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object, **__: object) -> None:
        raise Unavailable("down")

    with monkeypatch.context() as away:
        away.setattr(ApiClient, "call", down)
        assert post(admin, "/api-keys", keys_page).status_code == 503
    assert post(admin, "/api-keys", keys_page).status_code == 201


def test_programs_may_leave_the_forms_id_out(admin: Person, keys_page: dict[str, Any]) -> None:
    for form_id in ("", "x", "no id that we make, and much too long to be kept as one"):
        assert post(admin, "/api-keys", {**keys_page, "form_id": form_id}).status_code == 201
    assert number_of_keys(admin) == 3


def test_one_that_waits_for_its_twin_gives_up_in_the_end(
    admin: Person, keys_page: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "UNDER_WAY_SECONDS", 0.2)
    monkeypatch.setattr(Store, "get", lambda _self, kind, sid, get=Store.get: (
        {} if kind == "form" else get(_self, kind, sid)
    ))  # fmt: skip
    answer = post(admin, "/api-keys", keys_page)
    assert answer.status_code == 503
    assert number_of_keys(admin) == 0


def test_deleting_twice_is_done_once(admin: Person, keys_page: dict[str, Any]) -> None:
    made = post(admin, "/api-keys", keys_page)
    assert made.status_code == 201
    page = admin.get("/api-keys").text
    (path,) = re.findall(r'action="(/api-keys/\d+/delete)"', page)
    for _ in range(2):
        answer = post(admin, path, hidden(page))
        assert (answer.status_code, answer.location) == (303, "/api-keys?done=deleted")
