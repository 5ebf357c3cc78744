"""The services' own pages about their API: readable in every look, and calls made from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.browser import Browser, browser_for
from tests.e2e.test_accessibility import AXE, LOOKS, RUN
from tests.stack import Stack, must

PERSON = '{"username": "ada", "password": "tr0ub4dor-and-more"}'
# The first calls have all kinds of parts; axe takes its time for each.
OPEN = """
const calls = [...document.querySelectorAll("details.call")];
for (const each of document.querySelectorAll("details")) each.open = true;
const width = document.documentElement.scrollWidth;
for (const each of calls.slice(3)) each.open = false;
return width;
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(parts=("users", "analytics")) as running:
        running.first_account()
        yield running


@pytest.fixture(scope="module")
def users(stack: Stack) -> Iterator[Browser]:
    with browser_for(stack.users_url, None) as opened:
        yield opened


@pytest.fixture(scope="module")
def analytics(stack: Stack) -> Iterator[Browser]:
    with browser_for(stack.analytics_url, None) as opened:
        yield opened


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not there")
@pytest.mark.parametrize(
    ("name", "width", "theme"),
    [(name, *look) for name, look in zip(("users", "analytics") * 2, LOOKS, strict=True)],
)
def test_the_page_reads_well_in_every_look(
    request: pytest.FixtureRequest, name: str, width: int, theme: str
) -> None:
    page: Browser = request.getfixturevalue(name)
    page.prefer(theme, "reduce")
    page.resize(width, 900)
    page.visit("/docs")
    assert page.script(OPEN) <= width
    page.script(AXE.read_text())
    assert page.driver.execute_async_script(RUN) == []
    assert page.complaints() == []


def form_of(page: Browser, name: str) -> str:
    """Opens a call as its link does, and returns what finds its form."""
    page.resize(1440, 900)
    page.visit("/openapi.json")
    page.visit(f"/docs#{name}")
    page.until(lambda: page.one(f"#{name} form.try").is_displayed(), f"{name} stays closed")
    return f"#{name} form.try"


def send(page: Browser, form: str) -> str:
    """Sends the call, and returns the line that says how it was answered."""
    page.click(f"{form} button[type=submit]")
    page.until(lambda: "Waiting" not in page.content(f"{form} .said"), "no answer came")
    return page.content(f"{form} .said")


def test_a_call_is_tried_and_answered_with_status_headers_and_body(users: Browser) -> None:
    form = form_of(users, "login")
    users.one(f"{form} textarea").clear()
    users.one(f"{form} textarea").send_keys(PERSON)
    assert f"--data-binary '{PERSON}'" in users.content(f"{form} .curl")
    assert send(users, form) == "200 OK"
    assert "content-type: application/json" in users.content(f"{form} .headers")
    assert '"token_type": "bearer"' in users.content(f"{form} .body")
    assert users.complaints() == []


def test_a_token_goes_with_closed_calls_alone_and_is_kept_nowhere(
    stack: Stack, users: Browser
) -> None:
    form = form_of(users, "get_me")
    assert send(users, form).startswith("401")
    assert "error: " not in users.content(f"{form} .said")
    token = stack_token(stack)
    users.one("#token").send_keys(token)
    assert send(users, form) == "200 OK"
    assert '"username": "ada"' in users.content(f"{form} .body")
    assert users.content(f"{form} .curl").endswith('-H "Authorization: Bearer $TOKEN"')
    assert token not in users.script("return document.documentElement.outerHTML")
    kept = "return JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    assert token not in users.script(kept)
    # A page that is kept for the way back is left without its field being made anew.
    users.script("dispatchEvent(new Event('pagehide'))")
    assert users.one("#token").get_attribute("value") == ""
    users.expected.append("401")
    assert users.complaints() == []


def stack_token(stack: Stack) -> str:
    person = {"username": "ada", "password": "tr0ub4dor-and-more"}
    answer = must("POST", f"{stack.users_url}/login", json=person)
    token: str = answer.json()["access_token"]
    return token


def test_parameters_are_written_so_that_they_mean_what_they_say(
    stack: Stack, analytics: Browser
) -> None:
    form = form_of(analytics, "list_events")
    analytics.one("#token").send_keys(stack_token(stack))
    analytics.one("#list_events-event_type").send_keys("a b&c, d")
    asked = analytics.content(f"{form} .curl")
    assert "?event_type=a+b%26c&event_type=d'" in asked
    assert send(analytics, form).startswith("422")
    assert '"field": "event_type.0"' in analytics.content(f"{form} .body")
    form = form_of(analytics, "erase_visitor_events")
    field = analytics.one("#erase_visitor_events-visitor_id")
    quoted = r"/analytics/visitors/it'\''s%20%2F%3F%23/events"
    for text, said in ((".", 'visitor_id can\'t be ".".'), ("it's /?#", quoted)):
        field.clear()
        field.send_keys(text)
        assert said in analytics.content(f"{form} .curl")


def test_large_numbers_are_shown_as_they_came(stack: Stack, analytics: Browser) -> None:
    admin = {"Authorization": f"Bearer {stack_token(stack)}"}
    largest = 2**62 - 1
    event = {"event_type": "big", "user_id": largest, "metadata": {"text": 'a:{"b",[c]}'}}
    must("POST", f"{stack.analytics_url}/analytics/events", json=event, headers=admin)
    form = form_of(analytics, "list_events")
    analytics.one("#token").send_keys(stack_token(stack))
    assert send(analytics, form) == "200 OK"
    shown = analytics.content(f"{form} .body")
    assert f'"user_id": {largest}' in shown
    assert '"text": "a:{\\"b\\",[c]}"' in shown


def test_calls_are_found_by_keyboard_and_by_words(users: Browser) -> None:
    form_of(users, "login")
    users.one("#filter").send_keys("reset")
    listed = [each.text for each in users.all("nav li") if each.is_displayed()]
    assert len(listed) == 2
    users.visit("/openapi.json")
    users.visit("/docs")
    users.keys("\t")
    assert users.script("return document.activeElement.className") == "skip"
    summary = users.one("details.call summary")
    users.script("arguments[0].focus()", summary)
    summary.send_keys("\n")
    assert users.one("details.call").get_attribute("open")


def test_without_javascript_the_page_still_reads(stack: Stack, tmp_path: Path) -> None:
    with Browser(stack.users_url, str(tmp_path), javascript=False) as page:
        page.visit("/docs#login")
        assert page.one("h1").text.startswith("Footfall users service")
        assert not page.one("form.try").is_displayed()
