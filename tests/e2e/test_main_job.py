"""The main job in a browser: register, sign in, see it on the chart without a reload."""

from __future__ import annotations

import re

from tests.e2e.browser import Browser
from tests.e2e.conftest import PASSWORD, send
from tests.servers import BUSY_SECONDS
from tests.stack import Stack

PULSE_SECONDS = 4  # PULSE_MS of static/app.js
JWT = re.compile(r"eyJ[\w-]{10,}\.[\w-]{10,}")


def test_registering_leads_to_the_overview_and_says_who_is_signed_in(
    browser: Browser, someone: str
) -> None:
    browser.visit("/")
    browser.press("Create an account")
    browser.fill(
        email=f"{someone}@example.com", username=someone, full_name="Grace", password=PASSWORD
    )
    browser.follow("Create account")
    assert browser.read("h1") == "Overview"
    assert "Grace" in browser.read(".who-name")


def test_a_sign_in_shows_on_the_chart_within_seconds_and_without_a_reload(
    browser: Browser, stack: Stack
) -> None:
    browser.sign_in("root")
    browser.visit("/?metric=events&range=today")
    browser.until_settled()
    browser.script("window.stillHere = true")
    before = int(browser.read("#tile-events .tile-value"))
    send(stack, {"event_type": "page_view", "user_id": 77})
    # The call of `send` signs in, which is an event, too.
    # What the relay brings may just miss one pulse.
    browser.until(
        lambda: int(browser.read("#tile-events .tile-value")) >= before + 2,
        "no news",
        2 * PULSE_SECONDS + BUSY_SECONDS,
    )
    drawn = (
        "const p = document.getElementById('trend-plot'); return p.data[0].y.concat(p.data[1].y)"
    )
    browser.until(lambda: sum(browser.script(drawn)) >= before + 2, "not drawn", 5 + BUSY_SECONDS)
    assert browser.script("return window.stillHere")


def test_the_browser_never_holds_a_token(browser: Browser) -> None:
    browser.command("Network.enable")
    browser.sign_in("root")
    browser.until_settled()
    seen = [browser.driver.page_source, str(browser.driver.get_cookies())]
    for path in ("/overview/trend", "/overview/types", "/overview/bars", "/overview/latest"):
        seen.append(browser.script(FETCH, path))
    assert not [each for each in seen if JWT.search(each)]
    assert browser.script("return document.cookie") == ""
    assert {each["name"] for each in browser.driver.get_cookies()} == {"session"}


FETCH = """
const request = new XMLHttpRequest();
request.open("GET", arguments[0], false);
request.send();
return request.getAllResponseHeaders() + request.responseText;
"""


def test_a_range_is_chosen_without_a_reload_and_back_and_forward_follow(
    browser: Browser,
) -> None:
    browser.sign_in("root")
    browser.until_settled()
    browser.script("window.stillHere = true")
    browser.press("7 days")
    browser.until(lambda: browser.path == "/?range=7d", "the address did not follow")
    browser.click("#tile-events")
    browser.until(lambda: "metric=events" in browser.path, "the address did not follow")
    browser.until_text("#trend h2", "Events")
    assert browser.script("return window.stillHere")
    browser.driver.back()
    browser.until_text("#trend h2", "Active users")
    assert browser.path == "/?range=7d"
    assert browser.one("#range-7d").get_attribute("aria-current") == "true"
    browser.driver.forward()
    browser.until_text("#trend h2", "Events")
