"""Limits are shared by all workers where Redis is set, and held by each without it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import count

from redis import Redis

from tests.integration.users_service import Api, Stack, at_once, users_stack
from tests.servers import wait_until

TRIES = 5


def calls(api: Api, number: int) -> Counter[int]:
    answers = at_once([partial(api.call, "GET", "/openapi.json") for _ in range(number)])
    return Counter(answer.status_code for answer in answers)


def test_workers_share_one_limit_through_redis(redis_url: str) -> None:
    settings = {"REDIS_URL": redis_url, "API_CALLS_PER_MINUTE": "20"}
    with users_stack("sqlite://", settings=settings, workers=3) as stack:
        api = Api(stack.users_url)
        assert shared(stack, redis_url, lambda: calls(api, 60)) == {200: 20, 429: 40}


def test_a_limit_is_held_when_redis_is_gone() -> None:
    settings = {"REDIS_URL": "redis://127.0.0.1:9/0", "API_CALLS_PER_MINUTE": "20"}
    with users_stack("sqlite://", settings=settings) as stack:
        api = Api(stack.users_url)
        assert calls(api, 60) == {200: 20, 429: 40}


def test_registrations_are_counted_over_all_workers(redis_url: str) -> None:
    settings = {"REDIS_URL": redis_url, "REGISTRATIONS_PER_MINUTE": "5"}
    names = (f"person{number}" for number in count())
    with users_stack("sqlite://", settings=settings, workers=2) as stack:
        api = Api(stack.users_url)

        def register() -> Counter[int]:
            answers = at_once([partial(api.register, next(names)) for _ in range(15)])
            return Counter(answer.status_code for answer in answers)

        assert shared(stack, redis_url, register) == {201: 5, 429: 10}


def shared(stack: Stack, redis_url: str, burst: Callable[[], Counter[int]]) -> Counter[int]:
    """Returns the statuses of a burst in which no worker passed Redis over.

    A worker does so after 0.2 s without an answer, which a busy machine brings about: it counts
    for itself then, and the burst says nothing about shared counts.
    """
    redis = Redis.from_url(redis_url)

    def times(word: str) -> int:
        return stack.log("users").count(f"redis is {word}")

    for _ in range(TRIES):
        wait_until("Redis, asked again", lambda: times("passed over") == times("asked again"))
        if kept := list(redis.scan_iter("footfall-users:limits*")):
            redis.delete(*kept)
        passed_over = times("passed over")
        found = burst()
        if times("passed over") == passed_over:
            return found
    raise AssertionError(f"Redis was passed over in each of {TRIES} bursts")
