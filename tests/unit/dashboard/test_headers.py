"""Nothing from outside ends a header, in an answer or in a call to a service."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from analytics_app.behaviour.models import SavedReport
from analytics_app.models import db
from dashboard_app.clients import program
from tests.unit.dashboard.conftest import PASSWORD, Platform, csrf_of

BREAKS = ("a\r\nX-Planted: 1", "\n", "\r", "a\x00b", "a\x85b", "a\u2028b", "ü", "x" * 4000)
NAMES = (
    "range", "from", "to", "tz", "event_type", "metric", "interval", "key", "value", "where", "of",
    "user_id", "cursor", "next", "notice", "done", "step1", "within", "compare", "measure", "q",
    "metadata.a", "role", "token", "until",
)  # fmt: skip


def assert_whole(headers: object) -> None:
    for name, value in headers:  # type: ignore[attr-defined]
        assert "planted" not in name.lower()
        assert not set(value) & {"\r", "\n", "\x00"}


@pytest.mark.parametrize("text", BREAKS, ids=repr)
def test_no_address_breaks_a_header(platform: Platform, text: str) -> None:
    admin = platform.admin
    rules = [rule for rule in platform.app.url_map.iter_rules() if "GET" in (rule.methods or ())]
    paths = [str(rule) for rule in rules if not rule.arguments and "metrics" not in str(rule)]
    query = "&".join(f"{name}={quote(text)}" for name in NAMES)
    assert len(paths) > 25
    for path in (*paths, f"/{quote(text)}"):
        for answer in (admin.get(f"{path}?{query}"), admin.fragment(f"{path}?{query}")):
            assert answer.status_code < 500, path
            assert_whole(answer.headers.items())


@pytest.mark.parametrize("text", BREAKS, ids=repr)
def test_no_form_breaks_a_header(platform: Platform, text: str) -> None:
    admin = platform.admin
    token = csrf_of(admin.get("/").text)
    for path in ("/theme", "/saved-reports", "/annotations", "/api-keys", "/invites"):
        form = dict.fromkeys(("theme", "name", "text", "query", "email", "role", "day"), text)
        for headers in ({}, {"HX-Request": "true"}):
            data = {**form, "report": "overview", "scopes": "events:read", "csrf_token": token}
            answer = admin.client.post(path, data=data, headers=headers)
            assert answer.status_code < 500, path
            assert_whole(answer.headers.items())
    assert admin.get("/saved-reports").status_code == 200


def test_the_theme_that_a_page_is_told_is_one_there_is(platform: Platform) -> None:
    admin = platform.admin
    form = {"theme": "x" * 4000, "csrf_token": csrf_of(admin.get("/").text)}
    answer = admin.client.post("/theme", data=form, headers={"HX-Request": "true"})
    assert json.loads(answer.headers["HX-Trigger"]) == {"theme": ""}


@pytest.mark.parametrize("query", ["range=7d\r\nSet-Cookie: a=b", "a=\n", "\x00", "a=b\u2028"])
def test_a_saved_report_with_a_line_break_from_before_still_opens(
    platform: Platform, query: str
) -> None:
    admin = platform.admin
    with platform.analytics.app.app_context():
        saved = SavedReport(
            name="old\nname", report="overview", query=query.replace("\x00", "\x01"), created_by=1,
            created_at=datetime.now(UTC),
        )  # fmt: skip
        db.session.add(saved)
        db.session.commit()
        number = saved.id
    answer = admin.get(f"/saved-reports/{number}")
    assert answer.status_code == 302
    assert answer.location.startswith("/")
    assert "Set-Cookie" not in answer.headers
    assert_whole(answer.headers.items())
    assert admin.get(answer.location).status_code == 200
    assert admin.get("/saved-reports").status_code == 200


@pytest.mark.parametrize(
    "program_name", ["\xa0x", "\x85", "é", "\xa0", "x" * 5000, "", " x ", "a\tb"], ids=repr
)
def test_an_odd_browser_does_not_count_as_a_services_failure(
    platform: Platform, program_name: str
) -> None:
    platform.person("ada")
    browser = platform.visitor()
    token = csrf_of(browser.get("/login").text)
    form = {"username": "ada", "password": "wrong " + PASSWORD, "csrf_token": token}
    for _ in range(6):
        browser.client.environ_base["HTTP_USER_AGENT"] = program_name
        assert browser.client.post("/login", data=form).status_code in (422, 429)
    assert not platform.app.extensions["users"].api.breaker.is_open


def test_a_browsers_name_is_printable_and_bounded() -> None:
    assert program("Mozilla/5.0 (X11; Linux) é\n") == "Mozilla/5.0 (X11; Linux)"
    assert len(program("x" * 5000)) == 300
