"""A Redis that stops without a word costs each worker one moment, and then nobody anything."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from tests.integration.users_service import PASSWORD, Api
from tests.servers import BUSY_SECONDS, valkey, wait_until
from tests.stack import Stack

BOUND_SECONDS = 0.2  # for one call, once
PAGE_SECONDS = 0.7  # what a page waits for sessions, and for limits
STALL_SECONDS = 6.0
CALLERS = 2
LIMIT = 3000


class Crowd:
    """Callers of one address each, one call after the other; keeps each one's time and status."""

    def __init__(self, calls: dict[str, dict[str, Any]]) -> None:
        self.calls = calls
        self.seen: defaultdict[str, list[tuple[float, float, int]]] = defaultdict(list)
        self.over = threading.Event()

    def call(self, name: str) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not self.over.is_set():
                begun = time.monotonic()
                answer = session.request(**self.calls[name], timeout=30, allow_redirects=False)
                took = time.monotonic() - begun
                self.seen[name].append((begun, took, answer.status_code))
                time.sleep(0.05)

    def between(self, name: str, start: float, end: float) -> list[tuple[float, float, int]]:
        """Returns begin, seconds and status of the calls that were begun then."""
        return [each for each in self.seen[name] if start <= each[0] < end]

    @contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [
            threading.Thread(target=self.call, args=(name,))
            for name in self.calls
            for _ in range(CALLERS)
        ]
        for each in threads:
            each.start()
        try:
            yield
        finally:
            self.over.set()
            for each in threads:
                each.join()


@contextmanager
def stalled(process: subprocess.Popen[bytes]) -> Iterator[float]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield time.monotonic()
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def platform() -> Iterator[tuple[Stack, subprocess.Popen[bytes]]]:
    with valkey() as (address, redis):
        settings = {"REDIS_URL": address, "API_CALLS_PER_MINUTE": str(LIMIT)}
        with Stack(parts=("users", "analytics", "dashboard"), settings=settings) as stack:
            yield stack, redis


def browser(stack: Stack) -> requests.Session:
    """Returns a browser that is signed in."""
    session = requests.Session()
    page = session.get(f"{stack.dashboard_url}/login").text
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    form = {"username": "ada", "password": PASSWORD, "csrf_token": token and token[1]}
    headers = {"Origin": stack.dashboard_url}
    done = session.post(
        f"{stack.dashboard_url}/login", data=form, headers=headers, allow_redirects=False
    )
    assert done.status_code == 303
    return session


def test_a_stalled_redis_is_waited_for_once_and_then_passed_over(
    platform: tuple[Stack, subprocess.Popen[bytes]],
) -> None:
    stack, redis = platform
    users = Api(stack.users_url)
    assert users.register("ada").status_code == 201
    bearer = {"Authorization": f"Bearer {users.tokens('ada')['access_token']}"}
    event = {"method": "POST", "url": f"{stack.analytics_url}/analytics/events",
             "headers": bearer, "json": {"event_type": "looked"}}  # fmt: skip
    cookies = browser(stack).cookies
    crowd = Crowd(
        {
            "users": {"method": "GET", "url": f"{stack.users_url}/openapi.json"},
            "account": {"method": "GET", "url": f"{stack.users_url}/users/me", "headers": bearer},
            "analytics": {"method": "GET", "url": f"{stack.analytics_url}/openapi.json"},
            "event": event,
            "sign-in page": {"method": "GET", "url": f"{stack.dashboard_url}/login"},
            "page": {"method": "GET", "url": f"{stack.dashboard_url}/settings", "cookies": cookies},
            "live": {"method": "GET", "url": f"{stack.dashboard_url}/health/live"},
        }
    )
    with crowd.at_work():
        time.sleep(3)  # what is usual is measured in it
        with stalled(redis) as began:
            time.sleep(STALL_SECONDS)
        ended = time.monotonic()
        wait_until(
            "the pages' return",
            lambda: any(each[2] == 200 for each in crowd.between("page", ended, ended + 10)),
            10,
        )
        time.sleep(1)  # so that calls begin after the return too
    for name in crowd.calls:
        usual = max(took for _, took, _ in crowd.between(name, began - 2, began - 0.5))
        bound = PAGE_SECONDS if name == "page" else BOUND_SECONDS
        hit = crowd.between(name, began - 0.5, ended)
        assert max(took for _, took, _ in hit) < usual + bound + BUSY_SECONDS, name
        after = sorted(took for _, took, _ in crowd.between(name, began + 1, ended))
        assert after[len(after) * 9 // 10] < max(usual, bound / 2), "nobody pays again"
        statuses = {status for _, _, status in hit}
        expected = {201} if name == "event" else {200, 503} if name == "page" else {200}
        assert statuses == expected, name
