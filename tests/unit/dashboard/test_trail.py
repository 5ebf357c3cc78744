"""The audit page: both services' trails as one, and what is left of it while one is down."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dashboard_app import trail
from tests.unit.dashboard.conftest import Person, Platform, text_of

KEYS = "/analytics/api-keys"


def make_key(platform: Platform, who: Person, name: str = "importer") -> Any:
    body = {"name": name, "scopes": ["reports:read"]}
    return platform.call("analytics", "POST", KEYS, who.token, json=body)


def rename(platform: Platform, who: Person, name: str) -> None:
    platform.call("users", "PATCH", "/users/me", who.token, json={"full_name": name})


def rows(html: str) -> list[str]:
    """Returns the rows of the trail as plain words."""
    body = re.search(r"<tbody>(.*?)</tbody>", html, re.DOTALL)
    found = re.findall(r"<tr>(.*?)</tr>", body[1], re.DOTALL) if body else []
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in found]


def pages(admin: Person, path: str = "/audit") -> list[list[str]]:
    """Returns the rows of each page to the end."""
    found = []
    while path:
        html = admin.get(path).text
        found.append(rows(html))
        following = re.search(r'id="next" [^>]*href="([^"]+)"', html)
        path = following[1].replace("&amp;", "&") if following else ""
    return found


def test_both_trails_are_one_newest_first(platform: Platform) -> None:
    admin = platform.admin
    rename(platform, admin, "Root 1")
    key = make_key(platform, admin)
    rename(platform, admin, "Root 2")
    platform.call("analytics", "DELETE", f"{KEYS}/{key['id']}", admin.token)
    newest = rows(admin.get("/audit").text)[:4]
    done = ["key deleted", "updated", "key created", "updated"]
    assert all(did in row and "root" in row for did, row in zip(done, newest, strict=True)), newest
    assert key["prefix"] in newest[0]


@pytest.mark.parametrize("page_size", [2, 5, 7])
def test_pages_neither_leave_out_nor_repeat(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, page_size: int
) -> None:
    monkeypatch.setattr(trail, "PAGE", page_size)
    admin = platform.admin
    for number in range(9):  # runs of each service, and both by turns
        if number % 4 != 1:
            make_key(platform, admin)
        if number < 3 or number > 6:
            rename(platform, admin, f"Root {number}")
    found = pages(admin)
    times = [re.match(r"\d+ \w+ \d{4} [\d:]+", row)[0] for page in found for row in page]  # type: ignore[index]
    assert times == sorted(times, reverse=True)
    assert all(len(page) == page_size for page in found[:-1])
    words = " ".join(row for page in found for row in page)
    assert words.count("key created") == 7
    assert words.count("full_name") == 5
    assert len({row for page in found for row in page if "key created" in row}) == 7


def test_entries_that_come_meanwhile_repeat_nothing(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "PAGE", 2)
    admin = platform.admin
    for _ in range(4):
        make_key(platform, admin)
    html = admin.get("/audit").text
    following = re.search(r'id="next" [^>]*href="([^"]+)"', html)
    make_key(platform, admin)
    assert following
    shown = rows(html) + [
        row for page in pages(admin, following[1].replace("&amp;", "&")) for row in page
    ]
    keys = [row for row in shown if "key created" in row]
    assert len(keys) == len(set(keys)) == 4


@pytest.mark.parametrize(
    ("down", "says", "left"),
    [
        ("users", "The users service is not answering", "key created"),
        ("analytics", "The analytics service is not answering", "updated"),
    ],
)
def test_while_one_service_is_down_the_other_ones_trail_is_shown(
    platform: Platform, down: str, says: str, left: str
) -> None:
    admin = platform.admin
    rename(platform, admin, "Root")
    make_key(platform, admin)
    assert "updated" in text_of(admin.get("/audit"))
    getattr(platform, down).down = True
    answer = admin.get("/audit")
    assert answer.status_code == 200, text_of(answer)
    assert says in text_of(answer)
    assert left in text_of(answer)
    assert "no longer exists" not in text_of(answer)
    getattr(platform, down).down = False
    assert says not in text_of(admin.get("/audit"))


def test_what_was_missing_is_there_on_the_next_page(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "PAGE", 2)
    admin = platform.admin
    for number in range(3):
        rename(platform, admin, f"Root {number}")
    make_key(platform, admin)
    platform.analytics.down = True
    html = admin.get("/audit").text
    platform.analytics.down = False
    following = re.search(r'id="next" [^>]*href="([^"]+)"', html)
    assert following
    found = pages(admin, following[1].replace("&amp;", "&"))
    assert "key created" in found[0][0]


def test_while_both_are_down_the_page_says_so(platform: Platform) -> None:
    admin = platform.admin
    admin.get("/audit")
    platform.users.down = platform.analytics.down = True
    answer = admin.get("/audit")
    assert answer.status_code == 503
    assert "Neither service is answering" in text_of(answer)


def test_a_cursor_that_no_page_gave_is_refused(platform: Platform) -> None:
    for cursor in ("x", "WzFd", "e30"):
        assert platform.admin.get(f"/audit?cursor={cursor}").status_code == 422


def test_who_is_gone_is_named_by_number(platform: Platform) -> None:
    other, admin = platform.person("ada", "admin"), platform.admin
    make_key(platform, other, "of ada")
    assert re.search(r"of ada ffk_\w+ \S+ ada", text_of(admin.get("/api-keys")).replace("-", "_"))
    platform.call("users", "DELETE", f"/users/{other.id}", admin.token)
    text = text_of(admin.get("/api-keys"))
    assert f"account {other.id} no longer exists" in text
    trail_text = text_of(admin.get("/audit?action=key_created"))
    assert f"account {other.id} no longer exists" in trail_text
    platform.users.down = True
    text = text_of(admin.get("/api-keys"))
    assert f"account {other.id}" in text
    assert "no longer exists" not in text


def test_a_key_says_where_it_was_made_from(platform: Platform) -> None:
    admin = platform.admin
    token = re.search(r'name="csrf_token" value="([^"]+)"', admin.get("/api-keys").text)
    assert token
    admin.client.post(
        "/api-keys",
        data={"csrf_token": token[1], "name": "x", "scopes": "reports:read"},
        headers={"Sec-Fetch-Site": "same-origin"},
        environ_base={"REMOTE_ADDR": "203.0.113.9"},
    )
    assert "203.0.113.9" in rows(admin.get("/audit?action=key_created").text)[0]


def test_keys_show_how_they_begin_and_when_they_were_used(platform: Platform) -> None:
    admin = platform.admin
    made = make_key(platform, admin)
    text = text_of(admin.get("/api-keys"))
    assert made["prefix"] in text
    assert made["key"] not in text
    assert "never" in text
