"""Registering, signing in and out."""

from __future__ import annotations

import gzip
from urllib.parse import urlencode

import pytest
from structlog.testing import capture_logs

from tests.unit.dashboard.conftest import PASSWORD, MakePlatform, Platform, csrf_of, text_of

FORM = {"email": "eve@example.com", "username": "eve", "password": PASSWORD, "full_name": "Eve"}


def test_a_stranger_is_sent_to_sign_in_and_then_to_the_page_that_was_wanted(
    platform: Platform,
) -> None:
    platform.person("ada")
    browser = platform.visitor()
    sent = browser.get("/?range=7d&metric=events")
    assert sent.status_code == 302
    assert sent.location == "/login?next=/?range%3D7d%26metric%3Devents"
    form = browser.get(sent.location).text
    assert 'name="next" value="/?range=7d&amp;metric=events"' in form
    done = browser.sign_in("ada", next="/?range=7d&metric=events")
    assert (done.status_code, done.location) == (303, "/?range=7d&metric=events")


def test_the_log_line_of_a_sign_in_names_its_account(make_platform: MakePlatform) -> None:
    platform = make_platform(log_level="INFO")
    ada, browser = platform.person("ada"), platform.visitor()
    with capture_logs() as lines:
        assert browser.sign_in("ada").status_code == 303
    # The users service's line is a 200, the dashboard's own the 303.
    (line,) = [each for each in lines if each.get("status") == 303]
    assert (line["route"], line["user_id"], line["account_id"]) == ("/login", ada.id, ada.id)


@pytest.mark.parametrize(
    "target",
    [
        "/\t/evil.com", "/%09/evil.com", "//evil.com", "https://evil.com/", "\\\\evil.com",
        "/\\evil.com", "javascript:alert(1)", "/logout", "/health", "/nowhere", "evil", "",
        "/%2f/evil.com", "http:///evil.com", "http://[bad",
    ],
)  # fmt: skip
def test_after_signing_in_nobody_is_sent_away_from_our_own_pages(
    platform: Platform, target: str
) -> None:
    platform.person("ada")
    assert platform.visitor().sign_in("ada", next=target).location == "/"


def test_registering_makes_the_account_and_signs_in_with_it(platform: Platform) -> None:
    browser = platform.visitor()
    done = browser.submit("/register", FORM)
    assert (done.status_code, done.location) == (303, "/")
    assert "Eve" in text_of(browser.get("/"))


def test_complaints_stand_beside_their_fields_and_what_was_typed_is_kept(
    platform: Platform,
) -> None:
    given = {"email": "nonsense", "username": "eve", "password": "short", "full_name": "Eve"}
    answer = platform.visitor().submit("/register", given)
    assert answer.status_code == 422
    assert 'value="nonsense"' in answer.text
    assert answer.text.count('class="complaint"') == 2
    assert "short" not in answer.text


def test_a_name_that_is_taken_is_said_at_the_username(platform: Platform) -> None:
    platform.person("eve")
    answer = platform.visitor().submit("/register", {**FORM, "email": "other@example.com"})
    assert answer.status_code == 409
    assert 'id="username-note"' in answer.text


def test_a_wrong_password_says_so_once_and_keeps_the_name(platform: Platform) -> None:
    platform.person("ada")
    answer = platform.visitor().sign_in("ada", "wrong horse battery")
    assert answer.status_code == 422
    assert "don't match" in text_of(answer)
    assert 'value="ada"' in answer.text
    assert "wrong horse" not in answer.text


def test_an_empty_form_is_complained_about_without_a_call(platform: Platform) -> None:
    before = len(platform.users.calls)
    assert platform.visitor().sign_in("", "").status_code == 422
    assert len(platform.users.calls) == before


def test_signing_in_renews_the_session_id_so_a_planted_one_is_worth_nothing(
    platform: Platform,
) -> None:
    mallory, ada = platform.person("mallory"), platform.person("ada")
    planted = session_cookie(mallory.client)
    browser = platform.visitor()
    browser.client.set_cookie("session", planted or "")
    form = {"username": "ada", "password": PASSWORD, "csrf_token": csrf_of(mallory.get("/").text)}
    assert browser.client.post("/login", data=form).status_code == 303
    assert "ada" in text_of(browser.get("/settings"))
    assert session_cookie(browser.client) not in (planted, session_cookie(ada.client))
    assert session_cookie(mallory.client) == planted
    assert mallory.get("/settings").status_code == 302


def test_an_id_that_a_browser_makes_up_is_not_taken_over(platform: Platform) -> None:
    platform.person("ada")
    browser = platform.visitor()
    browser.client.set_cookie("session", "made-up")
    browser.sign_in("ada")
    first = session_cookie(browser.client)
    assert first not in (None, "made-up")
    browser.submit("/logout", {}, page="/")
    browser.sign_in("ada")
    assert session_cookie(browser.client) != first


def test_signing_out_ends_the_session_here_and_at_the_users_service(platform: Platform) -> None:
    ada = platform.person("ada")
    kept = session_cookie(ada.client)
    assert ada.submit("/logout", {}, page="/").location == "/login?notice=signed_out"
    assert "POST /logout" in platform.users.calls
    ada.client.set_cookie("session", kept or "")
    assert ada.get("/").status_code == 302


def test_signing_in_over_an_open_session_ends_that_one_everywhere(platform: Platform) -> None:
    ada, eve = platform.person("ada"), platform.person("eve")

    def sessions() -> int:
        return len(platform.call("users", "GET", "/users/me/sessions", ada.token)["items"])

    before = sessions()
    as_eve = {"username": "eve", "password": "wrong password"}
    assert ada.submit("/login", as_eve, page="/").status_code == 422
    assert sessions() == before, "one that fails ends nothing"
    assert ada.submit("/login", {**as_eve, "password": PASSWORD}, page="/").status_code == 303
    assert sessions() == before - 1
    assert "eve" in text_of(ada.get("/settings"))
    assert eve.get("/").status_code == 200


def test_the_answer_that_takes_the_cookie_clears_what_the_browser_kept(
    platform: Platform,
) -> None:
    ada = platform.person("ada")
    assert "Clear-Site-Data" not in ada.get("/").headers
    done = ada.submit("/logout", {}, page="/")
    assert done.headers["Clear-Site-Data"] == '"cache", "storage"'
    assert session_cookie(ada.client) is None
    eve = platform.person("eve")
    platform.call("users", "POST", "/logout", eve.token, json={"everywhere": True})
    ended = eve.fragment("/overview/types")
    assert (ended.status_code, ended.headers["Clear-Site-Data"]) == (401, '"cache", "storage"')
    assert "Clear-Site-Data" not in platform.visitor().get("/").headers
    stranger = platform.visitor().fragment("/overview/types")
    assert stranger.status_code == 401
    assert "Clear-Site-Data" not in stranger.headers


def test_one_can_sign_out_while_the_users_service_is_down(platform: Platform) -> None:
    ada = platform.person("ada")
    token = csrf_of(ada.get("/").text)
    platform.users.down = True
    assert ada.client.post("/logout", data={"csrf_token": token}).status_code == 303
    assert ada.get("/").status_code == 302


def test_the_users_service_down_is_said_on_the_form(platform: Platform) -> None:
    browser = platform.visitor()
    platform.users.down = True
    answer = browser.sign_in("ada")
    assert answer.status_code == 503
    assert "not answering" in text_of(answer)


def test_registering_and_signing_in_need_no_analytics(platform: Platform) -> None:
    platform.analytics.down = True
    assert platform.visitor().submit("/register", FORM).status_code == 303


def test_no_answer_shows_the_browser_a_token(platform: Platform) -> None:
    ada = platform.person("ada")
    for path in ("/", "/overview/trend", "/overview/types", "/overview/bars", "/login"):
        answer = ada.get(path)
        everything = answer.text + str(answer.headers)
        assert "eyJ" not in everything
        assert ada.token not in everything


def test_the_users_service_hears_the_browsers_own_address(platform: Platform) -> None:
    ada = platform.person("ada")
    browser = platform.visitor()
    browser.client.environ_base["REMOTE_ADDR"] = "203.0.113.9"
    browser.sign_in("ada")
    sessions = platform.call("users", "GET", "/users/me/sessions", ada.token)["items"]
    assert "203.0.113.9" in {each["address"] for each in sessions}


def session_cookie(client: object) -> str | None:
    cookie = client.get_cookie("session")  # type: ignore[attr-defined]
    return cookie.value if cookie else None


def test_a_form_may_come_compressed(platform: Platform) -> None:
    platform.person("ada")
    browser = platform.visitor()
    token = csrf_of(browser.get("/login").text)
    form = urlencode({"csrf_token": token, "username": "ada", "password": PASSWORD}).encode()
    headers = {"Sec-Fetch-Site": "same-origin", "Content-Encoding": "gzip"}
    kind = "application/x-www-form-urlencoded"
    data = gzip.compress(form)
    done = browser.client.post("/login", data=data, headers=headers, content_type=kind)
    assert (done.status_code, done.location) == (303, "/")
    headers["Content-Encoding"] = "br"
    refused = browser.client.post("/login", data=form, headers=headers, content_type=kind)
    assert (refused.status_code, refused.headers["Accept-Encoding"]) == (415, "gzip")
