"""kill -9 a dozen times while a third of the answers fail: nothing lost, nothing twice."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from threading import Event, Thread
from typing import Any

import pytest
import requests

from tests.integration.users_service import Api, users_stack
from tests.servers import wait_until
from tests.stack import Stack
from tests.unit.users.receiver import Reply, StandIn

KILLS = 12


class Unreliable:
    """Fails a third of all answers: half of those before the work, half after it."""

    def __init__(self) -> None:
        self.dice = random.Random(7)
        self.failed = 0

    def __call__(self, _method: str, path: str, _document: Any) -> Reply | None:
        if path == "/health" or self.dice.random() > 1 / 3:
            return None
        self.failed += 1
        return self.dice.choice([(0, {}, None), (500, {}, {}), (503, {"Retry-After": "1"}, {})])


class Changes:
    """Registers and changes accounts without pause, and keeps what was acknowledged."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.registered: list[int] = []
        self.acknowledged: Counter[int] = Counter()
        self.attempted: Counter[int] = Counter()
        self.stop = Event()
        self.threads = [Thread(target=self.run, args=(each,)) for each in range(2)]
        for thread in self.threads:
            thread.start()

    def run(self, writer: int) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            try:
                self.one_account(f"w{writer}n{number}")
            except (requests.RequestException, AssertionError, KeyError):
                self.stop.wait(0.1)

    def one_account(self, name: str) -> None:
        answer = self.api.register(name)
        if answer.status_code != 201:
            return
        user_id = answer.json()["id"]
        self.registered.append(user_id)
        token = self.api.tokens(name)["access_token"]
        for turn in range(3):
            self.attempted[user_id] += 1
            body = {"full_name": f"turn {turn}"}
            if self.api.call("PATCH", "/users/me", token, json=body).status_code == 200:
                self.acknowledged[user_id] += 1

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(60)


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_no_acknowledged_change_is_lost_and_none_is_counted_twice(database_url: str) -> None:
    unreliable = Unreliable()
    analytics = StandIn(unreliable)
    settings = {"ANALYTICS_URL": analytics.url, "WEB_GRACEFUL_SECONDS": "1"}
    try:
        with users_stack(database_url, ("users", "relay"), settings=settings) as stack:
            changes = Changes(Api(stack.users_url))
            kill_in_turn(stack, changes)
            changes.end()
            unreliable.dice = random.Random(8)
            wait_until("the outbox", lambda: outbox_is_empty(stack), 120, 0.5)
            assert_all_delivered(changes, analytics)
            assert dead(stack) == 0
    finally:
        analytics.close()
    assert unreliable.failed > 5
    assert len(changes.registered) > 20


def kill_in_turn(stack: Stack, changes: Changes) -> None:
    for number in range(KILLS):
        enough = len(changes.registered) + 2
        wait_until("some changes", partial(have_registered, changes, enough), 60)
        victim = "relay" if number % 2 else "users"
        stack.kill(victim)
        stack.start(victim)


def have_registered(changes: Changes, enough: int) -> bool:
    return len(changes.registered) >= enough


def assert_all_delivered(changes: Changes, analytics: StandIn) -> None:
    stored = list(analytics.stored.values())
    kinds = Counter((event["event_type"], event["user_id"]) for event in stored)
    for user_id in changes.registered:
        assert kinds["user_registered", user_id] == 1
        updates = kinds["user_updated", user_id]
        assert changes.acknowledged[user_id] <= updates <= changes.attempted[user_id]
    others = {each["user_id"] for each in stored}.difference(changes.registered)
    for user_id in others:  # stored, but the answer was lost when the service was killed
        assert kinds["user_registered", user_id] == 1


def gauge(stack: Stack, name: str) -> float:
    text = requests.get(f"{stack.users_url}/metrics", timeout=10).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


def outbox_is_empty(stack: Stack) -> bool:
    return gauge(stack, "outbox_pending") == 0


def dead(stack: Stack) -> float:
    return gauge(stack, "outbox_dead")
