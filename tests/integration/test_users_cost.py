"""What a sign-in costs: the same whatever went wrong, and never the service's health."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from threading import Event, Thread

import requests

from tests.integration.users_service import PASSWORD, Api, at_once, users_stack
from tests.processor import processor_seconds

TURNS, ACCOUNTS = 50, 10
LOCKED = "locked"


def milliseconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1000


def test_unknown_wrong_and_locked_take_equally_long(database_url: str) -> None:
    """The work for 50 sign-ins of each, in turn, is within 10% of each other.

    It is counted in seconds of the processor, which other work on the machine doesn't stretch.
    """
    with users_stack(database_url, settings={"BCRYPT_ROUNDS": "10"}) as stack:
        api = Api(stack.users_url)
        for name in (LOCKED, *(f"person{number}" for number in range(ACCOUNTS))):
            assert api.register(name).status_code == 201
        for _ in range(11):
            api.sign_in(LOCKED, "wrong password")
        found = work(api, stack.processes["users"].pid)
    assert max(found.values()) <= 1.1 * min(found.values()), found


def work(api: Api, service: int) -> dict[str, float]:
    """Returns the seconds of the processor that the service spends on each kind of failure."""
    spent = {"unknown": 0.0, "wrong": 0.0, "locked": 0.0}
    for turn in range(TURNS):
        # Ten accounts in turn: five failures each lock none of them.
        number = turn % ACCOUNTS
        names = {"unknown": f"nobody{number}", "wrong": f"person{number}", "locked": LOCKED}
        for kind, name in names.items():
            before = processor_seconds(service)
            api.sign_in(name, "wrong password")
            spent[kind] += processor_seconds(service) - before
    return spent


def test_fifty_sign_ins_at_once_leave_health_under_100_ms(database_url: str) -> None:
    settings = {"BCRYPT_ROUNDS": "12", "HASHING_SLOTS": "1"}
    with users_stack(database_url, settings=settings, workers=2) as stack:
        api = Api(stack.users_url)
        assert api.register("ada").status_code == 201
        over, health = Event(), []

        def watch() -> None:
            while not over.is_set():
                health.append(milliseconds(lambda: api.call("GET", "/health")))

        watcher = Thread(target=watch)
        watcher.start()
        answers = at_once([partial(api.sign_in, "ada") for _ in range(50)])
        over.set()
        watcher.join()
    assert_shed(answers)
    assert statistics.median(health) < 100


def test_twelve_connections_of_one_address_leave_sign_in_to_others(database_url: str) -> None:
    settings = {"BCRYPT_ROUNDS": "8", "HASHING_SLOTS": "1"}
    with users_stack(database_url, settings=settings, workers=2) as stack:
        api = Api(stack.users_url)
        assert api.register("ada").status_code == 201
        over, shed = Event(), []

        def hammer() -> None:
            while not over.is_set():
                shed.append(api.sign_in("nobody", "wrong password"))

        hammers = [Thread(target=hammer) for _ in range(12)]
        for each in hammers:
            each.start()
        answers = [sign_in_from("127.0.0.2", stack.users_url) for _ in range(10)]
        over.set()
        for each in hammers:
            each.join()
    assert [answer.status_code for answer in answers] == [200] * 10
    assert {answer.status_code for answer in shed} == {401, 429}


def sign_in_from(address: str, url: str) -> requests.Response:
    """Signs ada in over a connection that begins at this address of the loopback."""
    with requests.Session() as session:
        session.get_adapter(url).init_poolmanager(1, 1, source_address=(address, 0))
        body = {"username": "ada", "password": PASSWORD}
        return session.post(f"{url}/login", json=body, timeout=30)


def assert_shed(answers: list[requests.Response]) -> None:
    """Every sign-in is answered: right, or told when to come back."""
    assert {answer.status_code for answer in answers} == {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert int(answer.headers["Retry-After"]) >= 1
