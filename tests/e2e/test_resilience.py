"""What a person sees when something is wrong: a session's end, a service down, no JavaScript."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest
import requests

from tests.e2e.browser import Browser
from tests.e2e.conftest import PASSWORD, register, send, token
from tests.stack import Stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Yields a platform of its own: its parts are stopped here."""
    with Stack() as running:
        register(running, "root")
        yield running


@pytest.fixture
def plain(stack: Stack) -> Iterator[Browser]:
    """Yields a browser whose pages run no scripts."""
    prefix = f"chromium-{os.getpid()}-"
    with (
        tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as profile,
        Browser(stack.dashboard_url, profile, javascript=False) as opened,
    ):
        yield opened


def test_the_first_run_card_goes_by_itself_when_the_first_event_arrives(
    browser: Browser, stack: Stack
) -> None:
    browser.sign_in("root")
    browser.until_text("#first-run", "Send your first event")
    browser.press("Make a key for it")
    browser.until_text("#first-line", "Bearer ffk_")
    send(stack, {"event_type": "page_view"})
    browser.until(lambda: not browser.all("#first-run"), "the card stays", 15)
    browser.until_text("#types", "page_view")
    browser.visit("/")
    assert not browser.all("#first-run")


def test_a_session_that_ends_in_the_middle_brings_the_sign_in_and_then_the_same_page(
    browser: Browser,
) -> None:
    browser.expected = ["401"]
    browser.sign_in("root")
    browser.visit("/?range=7d&metric=events")
    browser.until_settled()
    browser.driver.delete_cookie("session")
    browser.press("90 days")
    browser.until(lambda: browser.path.startswith("/login"), "no sign-in")
    browser.sign_in("root")
    browser.until(lambda: browser.path == "/?range=7d&metric=events", "not the same page")


def test_a_page_of_a_session_that_was_ended_elsewhere_leaves_by_itself(
    browser: Browser, stack: Stack
) -> None:
    browser.expected = ["401"]
    browser.sign_in("root")
    browser.until_settled()
    headers = {"Authorization": f"Bearer {token(stack)}"}
    ended = {"url": f"{stack.users_url}/logout", "json": {"everywhere": True}}
    assert requests.post(**ended, headers=headers, timeout=10).status_code < 300  # type: ignore[arg-type]
    browser.until(lambda: browser.path.startswith("/login"), "the page stays", 20)
    assert "session has ended" in browser.read(".notice")


def test_signing_out_leaves_nothing_to_go_back_to_and_the_theme(browser: Browser) -> None:
    browser.sign_in("root")
    browser.until_settled()
    browser.script("localStorage.setItem('left', 'behind')")
    browser.click(".sidebar .theme button")
    theme = browser.until(lambda: browser.driver.get_cookie("theme"), "no theme is kept")
    browser.leave(lambda: browser.click(".who form:last-child button"))
    assert browser.driver.get_cookie("theme") == theme
    assert browser.driver.get_cookie("session") is None
    assert browser.script("return localStorage.getItem('left')") is None
    browser.driver.back()
    browser.until(lambda: browser.path.startswith("/login"), "Back shows a page")


def test_analytics_down_costs_its_panels_and_they_come_back(browser: Browser, stack: Stack) -> None:
    browser.expected = ["503"]
    browser.sign_in("root")
    browser.until_settled()
    stack.stop("analytics")
    try:
        browser.until(lambda: browser.one("#stale").is_displayed(), "no banner", 20)
        assert "Numbers below are from" in browser.read("#stale")
        assert browser.read("#tile-events .tile-value")
        browser.press("7 days")
        browser.until_text("#trend", "This can't be shown right now", 20)
        browser.visit("/settings")
        assert browser.read("h1") == "Settings"
        browser.visit("/")
        browser.until_text("#types", "Try again", 20)
    finally:
        stack.start("analytics")
    browser.until(lambda: retried(browser), "it never came back", 30)
    browser.until(lambda: not browser.one("#stale").is_displayed(), "the banner stays", 20)


def retried(browser: Browser) -> bool:
    """Presses a `Try again` and says whether the panel has its figures again."""
    for button in browser.all("#types [data-do=retry]"):
        button.click()
    return bool(browser.all("#types [data-figure], #types .state .button:not([data-do])"))


def test_everything_that_changes_state_works_without_javascript(
    plain: Browser, someone: str
) -> None:
    plain.visit("/register")
    plain.fill(email=f"{someone}@example.com", username=someone, password=PASSWORD)
    plain.follow("Create account")
    assert plain.read("h1") == "Overview"
    plain.follow("7 days")
    assert plain.path == "/?range=7d"
    plain.visit("/settings")
    plain.fill(full_name="Plain Person")
    plain.follow("Save")
    assert "saved" in plain.read(".notice")
    assert "Plain Person" in plain.read(".who-name")
    plain.leave(lambda: plain.click(".sidebar .theme button"))
    assert "dark" in plain.driver.page_source[:200]
    plain.leave(lambda: plain.click(".who form:last-child button"))
    assert "signed out" in plain.read(".notice")


def test_an_admin_needs_no_javascript_either(plain: Browser, stack: Stack, someone: str) -> None:
    number = register(stack, someone)
    plain.sign_in("root")
    plain.visit(f"/accounts/{number}")
    plain.fill(full_name="Changed")
    plain.follow("Save")
    assert "saved" in plain.read(".notice")
    plain.visit("/api-keys")
    plain.fill(name="Shop")
    plain.follow("Make the key")
    assert plain.read("#new-key").startswith("ffk_")
    plain.visit("/invites")
    plain.follow("Make the invite")
    assert "/register?invite=" in plain.read("#invite-link")
    plain.visit("/overview/types")
    assert "user_registered" in plain.read("#main")
