"""The behaviour pages in a real browser: filled in, drawn, saved, refreshed."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.browser import Browser
from tests.e2e.conftest import send
from tests.stack import Stack


def happening(kind: str, user: int, hours_ago: float) -> dict[str, object]:
    moment = datetime.now(UTC) - timedelta(hours=hours_ago)
    return {
        "event_type": kind,
        "user_id": user,
        "created_at": moment.isoformat(),
        "event_id": str(uuid.uuid4()),
        "metadata": {"plan": "pro" if user % 2 else "free"},
    }


@pytest.fixture(scope="module")
def shop(stack: Stack) -> Stack:
    """Returns the platform with ten people, of whom five buy."""
    users = range(101, 111)
    send(
        stack,
        *(happening("signup", user, 50) for user in users),
        *(happening("cart", user, 40) for user in users if user < 108),
        *(happening("purchase", user, 30) for user in users if user < 106),
    )
    return stack


def test_a_funnel_is_made_drawn_saved_and_found_again(shop: Stack, browser: Browser) -> None:
    browser.sign_in("root")
    browser.visit("/funnels")
    browser.fill(step1="signup", step2="cart")
    browser.press("Show the funnel")
    browser.until_text("#report", "70.0% of 10 users got to the end")
    assert "step1=signup" in browser.path
    browser.fill(step3="purchase")
    browser.press("Show the funnel")
    browser.until_text("#report", "50.0% of 10 users got to the end")
    browser.until_settled()
    assert len(browser.all("#funnel-plot .points path")) >= 3
    browser.press("Save")
    browser.fill(**{"report-name": "To purchase"})
    browser.one("#save form button").click()
    browser.until_text("main", "To purchase")
    browser.press("To purchase")
    browser.until_text("#report", "50.0% of 10 users got to the end")


def test_the_range_keeps_the_report_and_the_address_keeps_both(
    shop: Stack, browser: Browser
) -> None:
    browser.sign_in("root")
    browser.visit("/paths?start_at=cart")
    browser.until_text("#report", "After cart")
    browser.press("90 days")
    browser.until(lambda: "range=90d" in browser.path, "the address never followed")
    assert "start_at=cart" in browser.path
    browser.until_text("#report", "7 users, 7 times")


def test_live_shows_an_event_without_a_reload(shop: Stack, browser: Browser) -> None:
    browser.sign_in("root")
    browser.visit("/live")
    browser.until_settled()
    send(shop, happening("just_now", 199, 0))
    browser.until_text("#live", "just_now", seconds=20)
