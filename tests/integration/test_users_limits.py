"""Limits are shared by all workers where Redis is set, and held by each without it."""

from __future__ import annotations

from collections import Counter
from functools import partial

from tests.integration.users_service import Api, at_once, users_stack


def calls(api: Api, count: int) -> Counter[int]:
    answers = at_once([partial(api.call, "GET", "/openapi.json") for _ in range(count)])
    return Counter(answer.status_code for answer in answers)


def test_workers_share_one_limit_through_redis(redis_url: str) -> None:
    settings = {"REDIS_URL": redis_url, "API_CALLS_PER_MINUTE": "20"}
    with users_stack("sqlite://", settings=settings, workers=3) as stack:
        assert calls(Api(stack.users_url), 60) == {200: 20, 429: 40}


def test_a_limit_is_held_when_redis_is_gone() -> None:
    settings = {"REDIS_URL": "redis://127.0.0.1:9/0", "API_CALLS_PER_MINUTE": "20"}
    with users_stack("sqlite://", settings=settings) as stack:
        api = Api(stack.users_url)
        assert calls(api, 60) == {200: 20, 429: 40}


def test_registrations_are_counted_over_all_workers(redis_url: str) -> None:
    settings = {"REDIS_URL": redis_url, "REGISTRATIONS_PER_MINUTE": "5"}
    with users_stack("sqlite://", settings=settings, workers=2) as stack:
        api = Api(stack.users_url)
        answers = at_once([partial(api.register, f"person{n}") for n in range(15)])
    assert Counter(answer.status_code for answer in answers) == {201: 5, 429: 10}
