"""Each admin page, by hand."""

from __future__ import annotations

import json
import shutil
import subprocess

from tests.e2e.browser import Browser
from tests.e2e.conftest import register
from tests.stack import Stack


def test_an_account_is_found_changed_and_deleted(
    browser: Browser, stack: Stack, someone: str
) -> None:
    register(stack, someone)
    browser.sign_in("root")
    browser.press("Accounts")
    browser.fill(q=someone)
    browser.press("Search")
    browser.press(someone)
    browser.script("document.getElementById('role').value = 'analyst'")
    browser.press("Save")
    browser.until_text(".notice", "saved")
    browser.visit(f"/accounts?q={someone}")
    assert "Analyst" in browser.read(".people tbody")
    browser.press(someone)
    browser.press("Delete this account")
    browser.press("Yes, delete it")
    browser.until_text(".notice", "deleted")
    browser.visit("/audit?action=deleted")  # the erasure that follows has an entry too
    assert "deleted" in browser.read(".trail tbody tr")


def test_an_invited_person_gets_in_by_the_link(browser: Browser, someone: str) -> None:
    browser.sign_in("root")
    browser.press("Invites")
    browser.press("Make the invite")
    link = browser.read("#invite-link")
    browser.leave(browser.one(".who form:last-child button").click)
    browser.visit(link[link.index("/register") :])
    assert browser.one("#invite").get_attribute("value") in link
    browser.fill(email=f"{someone}@example.com", username=someone, password="a long password")
    browser.follow("Create account")
    assert browser.read("h1") == "Overview"


def test_a_key_is_made_copied_and_deleted(browser: Browser) -> None:
    browser.sign_in("root")
    browser.press("API keys")
    browser.fill(name="Web shop")
    browser.press("Make the key")
    line = browser.read("#new-key-line")
    assert line.startswith("curl http")
    if shutil.which("curl"):
        sent = subprocess.run(["sh", "-euc", line], check=True, capture_output=True, text=True)
        assert json.loads(sent.stdout)["event_type"] == "page_view"
    browser.one("[data-from='#new-key']").click()
    browser.until_text("[data-from='#new-key']", "Copied")
    browser.press("Delete …")
    browser.press("Yes, delete it")
    browser.until_text(".notice", "deleted")


def test_a_viewer_is_offered_nothing_that_is_not_theirs(
    browser: Browser, stack: Stack, someone: str
) -> None:
    browser.expected = ["403"]
    register(stack, someone)
    browser.sign_in(someone)
    browser.until_settled()
    assert "Admin" not in browser.read(".sidebar ul")
    browser.visit("/accounts")
    assert "Forbidden" in browser.read("#main")
    browser.press("My events")
    browser.until(lambda: seen(browser, "user_registered"), "no events", 15)


def seen(browser: Browser, words: str) -> bool:
    """Loads the page anew and says whether it holds the words."""
    browser.driver.refresh()
    return words in browser.read("#main")
