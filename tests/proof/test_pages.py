"""Hostile names, properties and addresses on every page, in a real browser: text, and no more."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import requests

from tests.e2e.browser import Browser
from tests.proof.people import PASSWORD, UNLIMITED, People
from tests.stack import Stack

MISSING = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} not installed"),
]
BAIT = "<img src=x onerror=window.caught=1 data-bait>"
HOSTILE = (
    BAIT,
    f"\"'>{BAIT}",
    f"</script>{BAIT}",
    f"</textarea></title>{BAIT}",
    "{{ 7 * 7 }} ${7*7} %{x}",
    "javascript:window.caught=1",
    "\u202e\u2066 right to left \u0301\u0301",
)
NOT_IN_NAMES = str.maketrans("", "", "\u202e\u2066")  # the users service refuses them there
# True where what somebody typed was taken for markup or ran.
CAUGHT = "return Boolean(window.caught || document.querySelector('[data-bait]'));"


@pytest.fixture(scope="module")
def people() -> Iterator[People]:
    with Stack(settings=UNLIMITED) as stack:
        made = People(stack)
        fill(made)
        yield made


def fill(people: People) -> None:
    """Gives people hostile names, and events hostile properties."""
    stack = people.stack
    for number, text in enumerate(HOSTILE):
        name = f"hostile{number}"
        account = people.register(name)
        answer = requests.patch(
            f"{stack.users_url}/users/{account['id']}",
            json={"full_name": text.translate(NOT_IN_NAMES)}, headers=people.admin, timeout=20,
        )  # fmt: skip
        assert answer.ok, answer.text
        send(people, account["id"], text)


def send(people: People, user_id: int, text: str) -> None:
    kinds = ("__proto__", "constructor", "hostile")
    events = [
        {"event_type": kind, "user_id": user_id, "metadata": {text: text, "deep": {text: [text]}}}
        for kind in kinds
    ]
    stamped = [
        {**event, "event_id": f"0190{n:04x}-0000-7000-8000-{user_id:012d}"}
        for n, event in enumerate(events)
    ]
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    answer = requests.post(
        f"{people.stack.analytics_url}/analytics/events/batch",
        json={"events": [{**event, "created_at": now} for event in stamped]},
        headers=people.admin, timeout=20,
    )  # fmt: skip
    assert answer.json()["rejected"] == 0, answer.text


@pytest.fixture(scope="module")
def browser(people: People) -> Iterator[Browser]:
    """Yields a browser in which an admin with a hostile name is signed in."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        Browser(people.stack.dashboard_url, profile) as opened,
    ):
        requests.patch(
            f"{people.stack.users_url}/users/me",
            json={"full_name": BAIT}, headers=people.admin, timeout=20,
        )  # fmt: skip
        opened.sign_in("keeper", PASSWORD)
        opened.one("main")
        yield opened


QUERY = quote(BAIT)
PAGES = (
    "/",
    "/events",
    "/events?event_type=hostile",
    f"/events?metadata.{QUERY}={QUERY}",
    f"/?tz={QUERY}&event_type={QUERY}&start={QUERY}",
    "/users/2",
    "/live",
    "/accounts",
    f"/accounts?q={QUERY}",
    "/audit",
    "/settings",
    "/funnels",
    "/retention",
    "/paths?event_type=hostile",
    f"/no/such/{QUERY}",
)


@pytest.mark.parametrize("path", PAGES)
def test_hostile_names_types_and_metadata_stay_text_on_every_page(
    browser: Browser, path: str
) -> None:
    browser.visit(path)
    browser.one("body")
    browser.until_settled()
    assert not browser.script(CAUGHT)


def test_the_bait_is_laid(browser: Browser) -> None:
    for path in ("/accounts", "/users/2"):
        browser.visit(path)
        browser.until_settled()
        assert "data-bait" in browser.one("main").text, path


def test_an_unescaped_name_would_be_seen(browser: Browser) -> None:
    """A planted fault: the same bait, unescaped."""
    browser.driver.get("data:text/html," + quote(f"<p>{BAIT}</p>"))
    browser.until(lambda: browser.script(CAUGHT), "the bait was not taken")
