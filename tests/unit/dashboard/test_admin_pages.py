"""Accounts, invites, API keys and audit: what admins do, and nobody else."""

from __future__ import annotations

import html
import re
import shlex
from typing import Any
from urllib.parse import urlsplit

import pytest
from werkzeug.test import Client, TestResponse

from tests.unit.dashboard.conftest import PASSWORD, Platform, event, text_of

PAGES = {
    "/": "viewer", "/overview/trend": "viewer", "/overview/trend.csv": "viewer",
    "/overview/types": "viewer", "/overview/bars": "viewer", "/overview/pulse": "viewer",
    "/overview/first-run": "viewer", "/time-zones": "viewer", "/settings": "viewer",
    "/settings/export": "viewer", "/overview/latest": "analyst", "/events": "analyst",
    "/events/export.csv": "analyst", "/users/1": "analyst", "/accounts": "admin",
    "/accounts/1": "admin", "/invites": "admin", "/api-keys": "admin", "/audit": "admin",
}  # fmt: skip
RANK = ("viewer", "analyst", "admin")


@pytest.mark.parametrize("role", RANK)
def test_each_role_gets_its_pages_and_no_more(platform: Platform, role: str) -> None:
    browser = platform.person(f"a-{role}", role)
    for path, needed in PAGES.items():
        status = browser.get(path).status_code
        allowed = RANK.index(role) >= RANK.index(needed)
        assert (status < 400) == allowed, (path, status)
        assert allowed or status in (403, 404), (path, status)


@pytest.mark.parametrize("role", RANK)
def test_what_a_role_may_not_do_is_not_shown(platform: Platform, role: str) -> None:
    page = platform.person(f"a-{role}", role).get("/").text
    for path in ("/accounts", "/invites", "/api-keys", "/audit"):
        assert (f'href="{path}"' in page) == (role == "admin")
    assert ('href="/events"' in page) == (role != "viewer")
    assert ("My events" in page) == (role == "viewer")
    assert ('hx-get="/overview/latest"' in page) == (role != "viewer")


def test_a_stranger_gets_nothing_but_the_way_to_sign_in(platform: Platform) -> None:
    for rule in platform.app.url_map.iter_rules():
        if rule.endpoint.startswith(("chassis.", "sign_in.", "register.", "password_reset.")):
            continue
        path = re.sub(r"<[^>]+>", "1", rule.rule)
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
            if path == "/theme":
                continue
            answer = platform.visitor().client.open(path, method=method)
            assert answer.status_code == 302, (method, path)
            assert answer.location.startswith("/login"), (method, path)


def test_an_admin_finds_an_account_and_changes_its_role(platform: Platform) -> None:
    ada, admin = platform.person("ada"), platform.admin
    text = text_of(admin.get("/accounts?q=ada"))
    assert "ada@example.com" in text
    assert "root@example.com" not in text
    form = {"full_name": "Ada L", "role": "analyst", "is_active": "true"}
    done = admin.submit(f"/accounts/{ada.id}", form)
    assert done.location == "/accounts?done=saved"
    account = platform.call("users", "GET", f"/users/{ada.id}", admin.token)
    assert (account["role"], account["full_name"], account["is_active"]) == (
        "analyst",
        "Ada L",
        True,
    )


def test_accounts_are_paged(platform: Platform) -> None:
    admin = platform.admin
    for number in range(30):
        body = {"email": f"u{number}@example.com", "username": f"u{number}", "password": PASSWORD}
        platform.call("users", "POST", "/users", json=body)
    first = admin.get("/accounts").text
    following = re.search(r'id="next" [^>]*href="([^"]+)"', first)
    assert following
    second = admin.get(following[1].replace("&amp;", "&")).text
    found = [re.findall(r"<td>(\w+@example\.com)</td>", page) for page in (first, second)]
    assert len(found[0] + found[1]) == len({*found[0], *found[1]}) == 31


def test_the_last_admin_stays_one_and_is_told_why(platform: Platform) -> None:
    admin = platform.admin
    form = {"full_name": "", "role": "viewer", "is_active": "true"}
    answer = admin.submit(f"/accounts/{admin.id}", form)
    assert answer.status_code == 409
    assert "admin" in text_of(answer)
    assert admin.get("/accounts").status_code == 200


def test_a_deleted_account_is_gone_with_its_events(platform: Platform) -> None:
    ada, admin = platform.person("ada"), platform.admin
    done = admin.submit(f"/accounts/{ada.id}/delete", {}, page=f"/accounts/{ada.id}")
    assert done.location == "/accounts?done=deleted"
    assert admin.get(f"/accounts/{ada.id}").status_code == 404


def test_an_invite_is_shown_once_and_lets_someone_in(platform: Platform) -> None:
    admin = platform.admin
    made = admin.submit("/invites", {"email": "", "role": "analyst", "expires_in_days": "3"})
    assert made.status_code == 201
    link = re.search(r'<pre id="invite-link"[^>]*>([^<]+)</pre>', made.text)
    assert link
    code = link[1].partition("invite=")[2]
    assert code not in admin.get("/invites").text
    visitor = platform.visitor()
    assert f'value="{code}"' in visitor.get(f"/register?invite={code}").text
    form = {"email": "z@example.com", "username": "zoe", "password": PASSWORD, "invite": code}
    assert visitor.submit("/register", form).status_code == 303
    assert visitor.get("/events").status_code == 200


def test_an_invite_can_be_withdrawn(platform: Platform) -> None:
    admin = platform.admin
    admin.submit("/invites", {"role": "viewer", "expires_in_days": "7"})
    action = re.search(r'action="(/invites/\d+/withdraw)"', admin.get("/invites").text)
    assert action
    assert admin.submit(action[1], {}, page="/invites").location == "/invites?done=withdrawn"
    assert "withdraw" not in admin.get("/invites").text.lower().replace("withdrawn", "")


def test_a_wrong_invite_form_is_complained_about(platform: Platform) -> None:
    form = {"email": "nonsense", "role": "king", "expires_in_days": "x"}
    answer = platform.admin.submit("/invites", form)
    assert answer.status_code == 422
    assert answer.text.count('class="complaint"') == 3


def test_a_key_is_shown_once_with_a_line_that_works(platform: Platform) -> None:
    admin = platform.admin
    made = admin.submit("/api-keys", {"name": "Shop", "scopes": ["events:write"]})
    assert made.status_code == 201
    key = re.search(r'<pre id="new-key"[^>]*>([^<]+)</pre>', made.text)
    assert key
    assert f"Bearer {key[1]}" in made.text
    assert key[1] not in admin.get("/api-keys").text
    sent = Client(platform.analytics.app).post(
        "/analytics/events",
        json={"event_type": "page_view"},
        headers={"Authorization": f"Bearer {key[1]}"},
    )
    assert sent.status_code == 201


def test_a_key_without_a_name_or_scope_is_complained_about(platform: Platform) -> None:
    answer = platform.admin.submit("/api-keys", {"name": "", "expires_in_days": "0"})
    assert answer.status_code == 422
    assert answer.text.count('class="complaint"') == 3


def test_a_key_can_be_deleted(platform: Platform) -> None:
    admin = platform.admin
    admin.submit("/api-keys", {"name": "Shop", "scopes": ["reports:read"]})
    action = re.search(r'action="(/api-keys/\d+/delete)"', admin.get("/api-keys").text)
    assert action
    assert admin.submit(action[1], {}, page="/api-keys").location == "/api-keys?done=deleted"
    assert "No keys yet" in text_of(admin.get("/api-keys"))


def test_the_audit_page_says_who_did_what(platform: Platform) -> None:
    ada, admin = platform.person("ada"), platform.admin
    form = {"full_name": "", "role": "analyst", "is_active": "true"}
    admin.submit(f"/accounts/{ada.id}", form)
    text = text_of(admin.get(f"/audit?action=role_changed&account_id={ada.id}"))
    assert re.search(r"root role changed ada", text)
    assert "Nothing matches" in text_of(admin.get("/audit?action=nothing"))
    signed_in = text_of(admin.get(f"/audit?action=signed_in&account_id={ada.id}"))
    assert "signed in" in signed_in
    assert "method password" in signed_in


def test_the_first_run_card_gives_a_key_and_goes_when_an_event_arrives(
    platform: Platform,
) -> None:
    admin = platform.admin
    card = admin.get("/").text
    assert "Send your first event" in card
    made = admin.client.post(
        "/overview/first-run",
        headers={
            "HX-Request": "true",
            "X-CSRF-Token": re.search(r'name="csrf_token" value="([^"]+)"', card)[1],  # type: ignore[index]
        },
    )
    assert admin.fragment("/overview/first-run").status_code == 204
    assert run_line(platform, made.text, "first-line").status_code == 201
    assert page_views(platform) == [{"event_type": "page_view", "count": 1, "unique_users": 1}]
    gone = admin.fragment("/overview/first-run")
    assert (gone.status_code, gone.text) == (200, "")
    assert "Send your first event" not in admin.get("/").text


def run_line(platform: Platform, page: str, name: str) -> TestResponse:
    """Does what the shell does with the curl line that a page shows."""
    shown = re.search(rf'<pre id="{name}"[^>]*>(.*?)</pre>', page, re.DOTALL)
    assert shown
    words = shlex.split(html.unescape(shown[1]))
    assert words[0] == "curl"
    given = list(zip(words[2::2], words[3::2], strict=True))
    (body,) = [value for option, value in given if option == "-d"]
    headers = [tuple(value.split(": ", 1)) for option, value in given if option == "-H"]
    return Client(platform.analytics.app).post(urlsplit(words[1]).path, data=body, headers=headers)


def page_views(platform: Platform) -> Any:
    query = {"event_type": "page_view"}
    return platform.call("analytics", "GET", "/analytics/events/by-type", platform.admin.token,
                         query_string=query)["items"]  # fmt: skip


def test_the_line_of_a_new_key_counts_somebody(platform: Platform) -> None:
    admin = platform.admin
    form = {"name": "Shop", "scopes": "events:write"}
    made = admin.submit("/api-keys", form)
    for _ in range(2):
        assert run_line(platform, made.text, "new-key-line").status_code == 201
    assert page_views(platform) == [{"event_type": "page_view", "count": 2, "unique_users": 1}]


def test_a_viewer_is_told_who_can_make_the_first_key(platform: Platform) -> None:
    text = text_of(platform.person("vera").get("/"))
    assert "An admin can make the key" in text


def test_sign_ins_alone_do_not_end_the_first_run(platform: Platform) -> None:
    platform.send(event("user_logged_in", user_id=5))
    assert "Send your first event" in platform.admin.get("/").text
