"""One's own account, and a forgotten password."""

from __future__ import annotations

import re

import pytest

from tests.unit.dashboard.conftest import PASSWORD, Platform, text_of

NEXT = "another battery staple"


def test_the_profile_is_saved_and_the_frame_shows_the_new_name(platform: Platform) -> None:
    ada = platform.person("ada")
    form = {"full_name": "Ada Lovelace", "username": "ada", "email": "ada@example.com"}
    assert ada.submit("/settings/profile", form, page="/settings").status_code == 303
    assert "Ada Lovelace" in text_of(ada.get("/"))


@pytest.mark.parametrize("new", [{"email": "new@example.com"}, {"username": "countess"}])
def test_a_new_email_or_username_needs_the_password(
    platform: Platform, new: dict[str, str]
) -> None:
    ada = platform.person("ada")
    assert "Needed to change the username or email." in text_of(ada.get("/settings"))
    form = {"full_name": "", "username": "ada", "email": "ada@example.com", **new}
    for password in ("", "wrong password"):
        refused = ada.submit(
            "/settings/profile", {**form, "current_password": password}, page="/settings"
        )
        assert refused.status_code == 422
        assert 'id="profile-password-note"' in refused.text
        assert f'value="{next(iter(new.values()))}"' in refused.text
    form["current_password"] = PASSWORD
    assert ada.submit("/settings/profile", form, page="/settings").status_code == 303


def test_a_new_password_ends_the_other_sessions(platform: Platform) -> None:
    ada = platform.person("ada")
    form = {"current_password": PASSWORD, "new_password": NEXT}
    assert ada.submit("/settings/password", form, page="/settings").status_code == 303
    assert ada.get("/settings").status_code == 200
    assert platform.visitor().sign_in("ada", PASSWORD).status_code == 422
    assert platform.visitor().sign_in("ada", NEXT).status_code == 303


def test_a_wrong_current_password_is_said_at_its_field(platform: Platform) -> None:
    form = {"current_password": "wrong", "new_password": NEXT}
    answer = platform.person("ada").submit("/settings/password", form, page="/settings")
    assert answer.status_code == 422
    assert 'id="current_password-note"' in answer.text


def test_sessions_are_listed_with_their_browser_and_can_be_ended(platform: Platform) -> None:
    ada, other = platform.person("ada"), platform.visitor()
    other.client.environ_base["HTTP_USER_AGENT"] = "Lynx/2.9"
    other.sign_in("ada")
    page = ada.get("/settings")
    assert "Lynx/2.9" in text_of(page)
    assert "This one" in text_of(page)
    for action in re.findall(r'action="(/settings/sessions/\d+/end)"', page.text):
        assert ada.submit(action, {}, page="/settings").status_code == 303
    assert other.get("/settings").status_code == 302
    assert ada.get("/settings").status_code == 200


def test_signing_out_everywhere_signs_out_here_too(platform: Platform) -> None:
    ada, other = platform.person("ada"), platform.visitor()
    other.sign_in("ada")
    assert ada.submit("/settings/sessions/end", {}, page="/settings").status_code == 303
    assert ada.get("/settings").status_code == 302
    assert other.get("/settings").status_code == 302


def test_what_is_held_about_one_comes_as_one_file(platform: Platform) -> None:
    ada = platform.person("ada")
    answer = ada.get("/settings/export")
    assert answer.status_code == 200
    assert "attachment" in answer.headers["Content-Disposition"]
    assert answer.get_json()["account"]["username"] == "ada"


def test_while_analytics_is_down_the_export_says_so(platform: Platform) -> None:
    ada = platform.person("ada")
    platform.analytics.down = True
    answer = ada.get("/settings/export")
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers


def test_deleting_the_account_needs_the_password_and_ends_the_session(
    platform: Platform,
) -> None:
    ada = platform.person("ada")
    refused = ada.submit("/settings/delete", {"current_password": "wrong"}, page="/settings")
    assert refused.status_code == 422
    assert 'id="delete-password-note"' in refused.text
    done = ada.submit("/settings/delete", {"current_password": PASSWORD}, page="/settings")
    assert done.location == "/login?notice=deleted"
    assert ada.get("/").status_code == 302
    assert platform.visitor().sign_in("ada").status_code == 422


def test_the_answer_to_a_forgotten_password_tells_nothing(platform: Platform) -> None:
    platform.person("ada")
    texts = {
        text_of(platform.visitor().submit("/password-reset", {"email": email}))
        for email in ("ada@example.com", "nobody@example.com")
    }
    assert len(texts) == 1


def test_a_code_that_is_none_is_said_on_the_form(platform: Platform) -> None:
    form = {"token": "nonsense", "new_password": NEXT}
    page = "/password-reset/confirm?token=nonsense"
    answer = platform.visitor().submit("/password-reset/confirm", form, page=page)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text


def test_the_users_service_down_is_a_page_that_says_so(platform: Platform) -> None:
    ada = platform.person("ada")
    assert ada.get("/").status_code == 200
    platform.users.down = True
    answer = ada.get("/settings")
    assert answer.status_code == 503
    assert "not answering" in text_of(answer)
    assert ada.get("/").status_code == 200
