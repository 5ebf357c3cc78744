"""One event travels the whole way, on SQLite files and on PostgreSQL, through real processes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.servers import wait_until
from tests.stack import Stack

PASSWORD = "a quiet walk at dawn"
JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stack(
    request: pytest.FixtureRequest, new_postgres_database: Callable[[], str]
) -> Iterator[Stack]:
    urls = {}
    if request.param == "postgresql":
        urls = {f"{each}_database_url": new_postgres_database() for each in ("users", "analytics")}
    with Stack(**urls) as running:
        browser = Browser(running)
        browser.register("ada")  # the admin, who can read all counts
        yield running


class Browser:
    """A person at the dashboard without JavaScript: cookies, forms and the CSRF field."""

    def __init__(self, stack: Stack) -> None:
        self.url = stack.dashboard_url
        self.session = requests.Session()
        self.seen: list[requests.Response] = []

    def get(self, path: str) -> requests.Response:
        return self.remembered(self.session.get(self.url + path, timeout=20))

    def submit(self, path: str, **fields: str) -> requests.Response:
        page = self.get(path)
        hidden = re.findall(r'<input[^>]*type="hidden"[^>]*>', page.text)
        values = {}
        for each in hidden:
            name, value = re.search(r'name="([^"]*)"', each), re.search(r'value="([^"]*)"', each)
            if name:
                values[name[1]] = value[1] if value else ""
        headers = {"Origin": self.url, "Referer": self.url + path}
        answer = self.session.post(
            self.url + path, data={**values, **fields}, headers=headers, timeout=20
        )
        return self.remembered(answer)

    def register(self, name: str) -> requests.Response:
        return self.submit(
            "/register", email=f"{name}@example.com", username=name, password=PASSWORD, full_name=""
        )

    def sign_in(self, name: str) -> requests.Response:
        return self.submit("/login", username=name, password=PASSWORD)

    def remembered(self, answer: requests.Response) -> requests.Response:
        self.seen += [*answer.history, answer]
        return answer


def admin_headers(stack: Stack) -> dict[str, str]:
    form = {"grant_type": "password", "username": "ada", "password": PASSWORD}
    answer = requests.post(f"{stack.users_url}/token", data=form, timeout=20)
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def counts(stack: Stack, headers: dict[str, str]) -> dict[str, int]:
    answer = requests.get(f"{stack.analytics_url}/analytics/summary", headers=headers, timeout=20)
    found: dict[str, int] = answer.json()["events_by_type"]
    return found


def test_a_sign_in_at_the_dashboard_is_counted_within_seconds(stack: Stack) -> None:
    headers = admin_headers(stack)
    wait_until(
        "the admin's own events", lambda: counts(stack, headers).get("user_logged_in", 0) > 0
    )
    before = counts(stack, headers)
    browser = Browser(stack)
    assert browser.register("grace").status_code == 200
    assert browser.get("/").status_code == 200
    wait_until(
        "the registration's arrival",
        lambda: counts(stack, headers).get("user_registered", 0) == before["user_registered"] + 1,
        seconds=5,
    )
    again = Browser(stack)
    again.sign_in("grace")
    assert "grace" in again.get("/").text
    wait_until(
        "the sign-in's arrival",
        lambda: counts(stack, headers)["user_logged_in"] > before["user_logged_in"],
        seconds=5,
    )


def test_the_lag_of_every_delivery_is_measured(stack: Stack) -> None:
    headers = admin_headers(stack)

    def figure(name: str) -> float:
        text = requests.get(f"{stack.analytics_url}/metrics", timeout=20).text
        found = re.search(rf"^analytics_delivery_lag_seconds_{name} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else -1

    # Only the relay delivers here, and none of what it delivers is anybody else's.
    wait_until("a measure for each event", lambda: figure("count") == total(stack, headers) > 1)
    assert 0 < figure("sum") < 30 * figure("count")


def total(stack: Stack, headers: dict[str, str]) -> int:
    return sum(counts(stack, headers).values())


def test_no_page_cookie_or_header_that_a_browser_gets_holds_a_jwt(stack: Stack) -> None:
    browser = Browser(stack)
    browser.sign_in("ada")
    for path in ("/", "/events", "/login", "/no/such/page"):
        browser.get(path)
    browser.submit("/login", username="ada", password="wrong")
    assert len(browser.seen) > 6
    for answer in browser.seen:
        for what in (answer.text, str(answer.headers), str(answer.cookies.get_dict())):
            assert not JWT.search(what), answer.url
    for cookie in browser.session.cookies:
        assert not JWT.search(cookie.value or "")


def test_with_analytics_down_accounts_work_and_every_event_arrives_once(stack: Stack) -> None:
    headers = admin_headers(stack)
    names = [f"offline{number}" for number in range(5)]
    # An account's and a sign-in's events go through the same outbox: wait until it is empty.
    wait_until("an idle outbox", lambda: outbox_pending(stack) == 0)
    before = counts(stack, headers)
    stack.stop("analytics")
    for name in names:
        account = {"email": f"{name}@example.com", "username": name, "password": PASSWORD}
        assert (
            requests.post(f"{stack.users_url}/users", json=account, timeout=20).status_code == 201
        )
        signed_in = requests.post(
            f"{stack.users_url}/login", json={"username": name, "password": PASSWORD}, timeout=20
        )
        assert signed_in.status_code == 200
    stack.start("analytics")
    wait_until("the outbox's delivery", lambda: outbox_pending(stack) == 0, seconds=60)
    after = counts(stack, headers)
    for kind in ("user_registered", "user_logged_in"):
        assert after[kind] == before.get(kind, 0) + len(names)


def outbox_pending(stack: Stack) -> float:
    text = requests.get(f"{stack.users_url}/metrics", timeout=20).text
    line: Any = re.search(r"^outbox_pending(?:\{.*\})? ([\d.]+)", text, re.MULTILINE)
    return float(line[1])
