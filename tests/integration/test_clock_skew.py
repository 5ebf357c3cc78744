"""The users service's clock differs from that of analytics and the dashboard."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.chaos.tools import Missing, clock_library
from tests.integration.users_service import PASSWORD, Api
from tests.servers import wait_until
from tests.stack import Stack

NOTICED = (1, -1, 5, -5, 25, -25)
ENDED_SECONDS = 2.5  # the promise is two


class Shifted:
    """The platform on SQLite; users and its relay take a clock that can be set."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.users = stack, Api(stack.users_url)
        self.clock = stack.home / "users.clock"
        self.clock.write_text("0")

    def start(self) -> None:
        library = clock_library(self.stack.home)
        usual = dict(self.stack.environment)
        self.stack.environment |= {"LD_PRELOAD": str(library),
                                   "CLOCK_OFFSET_FILE": str(self.clock)}  # fmt: skip
        self.stack.start("users", "relay")
        self.stack.environment = usual
        self.stack.start("analytics", "maintenance", "dashboard")

    def set(self, seconds: int) -> None:
        self.clock.write_text(str(seconds))
        time.sleep(0.2)

    def analytics(self, method: str, path: str, token: str, **given: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        url = self.stack.analytics_url + path
        return requests.request(method, url, headers=headers, timeout=10, **given)

    def browser(self, name: str) -> requests.Session:
        session = requests.Session()
        url = f"{self.stack.dashboard_url}/login"
        token = re.search(r'name="csrf_token" value="([^"]+)"', session.get(url).text)
        form = {"username": name, "password": PASSWORD, "csrf_token": token and token[1]}
        assert session.post(url, data=form, allow_redirects=False).status_code == 303
        return session

    def page(self, session: requests.Session, path: str) -> int:
        url = self.stack.dashboard_url + path
        return session.get(url, allow_redirects=False, timeout=10).status_code


@pytest.fixture(scope="module")
def shifted() -> Iterator[Shifted]:
    stack = Stack()
    try:
        stack.migrate()
        made = Shifted(stack)
        try:
            made.start()
        except Missing as missing:
            pytest.skip(str(missing))
        assert made.users.register("root").status_code == 201
        yield made
    finally:
        stack.__exit__()


def name_for(seconds: int) -> str:
    return f"user{'ahead' if seconds > 0 else 'behind'}{abs(seconds)}"


@pytest.mark.parametrize("seconds", NOTICED)
def test_half_a_minute_of_difference_is_noticed_by_nobody(shifted: Shifted, seconds: int) -> None:
    shifted.set(seconds)
    name = name_for(seconds)
    account = shifted.users.register(name).json()
    token = shifted.users.tokens(name)["access_token"]
    mine = f"/analytics/users/{account['id']}/events"
    for _ in range(3):
        sent = shifted.analytics("POST", "/analytics/events", token, json={"event_type": "x"})
        assert sent.status_code == 201
        assert shifted.analytics("GET", "/analytics/summary", token).status_code == 200
        assert shifted.analytics("GET", mine, token).status_code == 200
    browser = shifted.browser(name)
    for path in ("/", "/overview/types", "/settings"):
        assert shifted.page(browser, path) == 200, path
    # A change of role asks for a new token, and for no more than one.
    admin = shifted.users.tokens("root")["access_token"]
    changed = shifted.users.call(
        "PATCH", f"/users/{account['id']}", admin, json={"role": "analyst"}
    )
    assert changed.status_code == 200
    for path in ("/", "/events", "/overview/types"):
        assert shifted.page(browser, path) in (200, 403), path
    wait_until(
        "the old token's end", lambda: status_of_summary(shifted, token) == 401, ENDED_SECONDS
    )
    wait_until("the new role", lambda: shifted.page(browser, "/events") == 200, ENDED_SECONDS)
    fresh = shifted.users.tokens(name)["access_token"]
    assert shifted.analytics("GET", "/analytics/events", fresh).status_code == 200
    assert shifted.users.call("POST", "/logout", fresh, json={"everywhere": True}).ok
    wait_until("the session's end", lambda: status_of_summary(shifted, fresh) == 401, ENDED_SECONDS)
    wait_until("the pages' end", lambda: shifted.page(browser, "/") == 302, ENDED_SECONDS)
    wait_until("the relay", lambda: relayed(shifted, admin, account["id"]) >= 4, 60)


def status_of_summary(shifted: Shifted, token: str) -> int:
    return shifted.analytics("GET", "/analytics/summary", token).status_code


def relayed(shifted: Shifted, admin: str, user_id: int) -> int:
    found = shifted.analytics("GET", f"/analytics/users/{user_id}/events", admin)
    return sum(each["event_type"].startswith("user_") for each in found.json()["items"])


def test_a_clock_too_far_ahead_is_refused_in_plain_words(shifted: Shifted) -> None:
    browser = shifted.browser("root")
    assert shifted.page(browser, "/overview/types") == 200
    shifted.set(45)
    token = shifted.users.tokens("root")["access_token"]
    refused = shifted.analytics("GET", "/analytics/summary", token)
    assert refused.status_code == 401
    assert "clocks" in refused.json()["detail"]
    new = shifted.browser("root")
    page = new.get(f"{shifted.stack.dashboard_url}/overview/types", allow_redirects=False)
    assert page.status_code == 503
    shifted.set(0)
    time.sleep(1)
    assert shifted.page(browser, "/overview/types") == 200


def test_a_clock_too_far_behind_stops_nobody(shifted: Shifted) -> None:
    """A token ends a little earlier than its makers think, and is renewed."""
    shifted.set(-45)
    browser = shifted.browser("root")
    assert shifted.page(browser, "/overview/types") == 200
    shifted.set(0)
