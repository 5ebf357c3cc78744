"""What every answer carries, and which requests may change something."""

from __future__ import annotations

import pytest
from werkzeug.test import TestResponse

from dashboard_app.security import SECURITY_HEADERS
from tests.unit.dashboard.conftest import PASSWORD, Platform, csrf_of


def assert_guarded(answer: TestResponse) -> None:
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers.getlist(name) == [value], name


@pytest.mark.parametrize(
    "path", ["/", "/login", "/nowhere", "/health", "/metrics", "/events", "/overview/trend"]
)
def test_every_answer_carries_the_policy(platform: Platform, path: str) -> None:
    assert_guarded(platform.visitor().get(path))
    assert_guarded(platform.admin.get(path))


def test_files_errors_and_refusals_carry_the_policy_too(platform: Platform) -> None:
    browser = platform.visitor()
    address = browser.get("/login").text.split('rel="stylesheet" href="')[1].split('"')[0]
    for answer in (
        browser.get(address),
        browser.client.post("/login"),
        browser.client.delete("/login"),
        browser.client.open("/login", method="BREW"),
        browser.client.post("/login", data={"password": "x" * 100_000}),
    ):
        assert_guarded(answer)


@pytest.mark.parametrize("header", ["Host", "Origin", "Referer", "HX-Current-URL"])
@pytest.mark.parametrize("address", ["http://[", "//[", "a" * 64, "\xe9"])
def test_an_address_that_is_none_is_no_bug(platform: Platform, header: str, address: str) -> None:
    browser = platform.visitor()
    for extra in ({}, {"HX-Request": "true"}):
        headers = {header: address, **extra}
        for path in ("/audit", "/nowhere"):
            assert browser.client.get(path, headers=headers).status_code < 500
        refusal = browser.client.post("/login", headers=headers)
        assert refusal.status_code in (400, 403)
        assert_guarded(refusal)
        assert platform.admin.client.post("/logout", headers=headers).status_code < 500


def test_a_bug_is_a_page_with_the_policy_and_without_its_insides(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise RuntimeError("the inside")

    admin = platform.admin
    platform.app.config["PROPAGATE_EXCEPTIONS"] = False
    monkeypatch.setattr("dashboard_app.pages.overview.reports.types", lambda _: fail())
    answer = admin.get("/overview/types")
    assert answer.status_code == 500
    assert "the inside" not in answer.text
    assert_guarded(answer)


def test_pages_and_fragments_are_never_kept_and_not_taken_for_each_other(
    platform: Platform,
) -> None:
    answer = platform.admin.get("/overview/types")
    assert answer.headers["Cache-Control"] == "no-store"
    assert {"HX-Request", "Cookie"} <= set(answer.headers["Vary"].replace(" ", "").split(","))


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "null"},
    ],
)
def test_a_change_that_another_site_asks_for_is_refused(
    platform: Platform, headers: dict[str, str]
) -> None:
    admin = platform.admin
    token = csrf_of(admin.get("/").text)
    answer = admin.client.post("/logout", data={"csrf_token": token}, headers=headers)
    assert answer.status_code == 403
    assert admin.get("/").status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", "é", "x" * 5000])
def test_a_change_without_the_sessions_token_is_refused(platform: Platform, token: str) -> None:
    admin = platform.admin
    headers = {"Sec-Fetch-Site": "same-origin"}
    answer = admin.client.post("/logout", data={"csrf_token": token}, headers=headers)
    assert answer.status_code == 403
    assert admin.get("/").status_code == 200


def test_a_strangers_token_does_not_pass_for_a_sessions(platform: Platform) -> None:
    token = csrf_of(platform.visitor().get("/login").text)
    answer = platform.admin.client.post("/logout", data={"csrf_token": token})
    assert answer.status_code == 403


def test_signing_in_needs_a_form_of_ours(platform: Platform) -> None:
    platform.person("ada")
    form = {"username": "ada", "password": PASSWORD}
    assert platform.visitor().client.post("/login", data=form).status_code == 403


def test_the_token_may_come_in_a_header(platform: Platform) -> None:
    admin = platform.admin
    headers = {"X-CSRF-Token": csrf_of(admin.get("/").text), "Origin": "http://localhost"}
    assert admin.client.post("/logout", headers=headers).status_code == 303


def test_every_page_offers_to_sign_out(platform: Platform) -> None:
    admin, views = platform.admin, platform.app.view_functions
    pages = [
        rule.rule for rule in platform.app.url_map.iter_rules()
        if getattr(views[rule.endpoint], "is_landing", False) and not rule.arguments
    ]  # fmt: skip
    assert len(pages) > 10
    for page in (*pages, "/nowhere"):
        assert 'action="/logout"' in admin.get(page).text, page


def test_the_theme_is_a_cookie_that_the_server_reads(platform: Platform) -> None:
    browser = platform.visitor()
    assert "data-theme" not in browser.get("/login").text
    done = browser.submit("/theme", {"theme": "dark"}, page="/login")
    assert (done.status_code, done.headers["Location"]) == (303, "/")
    assert 'data-theme="dark"' in browser.get("/login").text
    browser.submit("/theme", {"theme": "<script>"}, page="/login")
    assert "data-theme" not in browser.get("/login").text
