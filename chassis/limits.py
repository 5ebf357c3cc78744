"""How often one account, key or address may call."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, current_app, g
from flask_limiter import Limiter, RateLimitExceeded
from limits.storage import MemoryStorage, RedisStorage, Storage
from redis.exceptions import RedisError

from chassis.auth import Caller, optional_caller
from chassis.client_address import client_address, throttle_key
from chassis.config import Settings
from chassis.errors import TooManyRequests
from chassis.problems import answer_to
from chassis.redis_breaker import RedisBreaker, bounded

OPEN_ALWAYS = ("health", "live", "metrics")
REDIS_SECONDS = 0.2
SHARED = "shared+"
T = TypeVar("T")


class SharedCounts(Storage):
    """Counts in Redis; without it each worker counts for itself, in memory.

    No call waits longer than REDIS_SECONDS for an answer of Redis, and once it did, none waits
    until Redis is well again.
    """

    STORAGE_SCHEME = [SHARED + scheme for scheme in RedisStorage.STORAGE_SCHEME]

    def __init__(self, uri: str, **options: Any) -> None:
        super().__init__(uri)
        address = uri.removeprefix(SHARED)
        options |= bounded(address, REDIS_SECONDS)
        self.redis, self.probed = RedisStorage(address, **options), RedisStorage(address, **options)
        self.memory = MemoryStorage()
        self.breaker = RedisBreaker("limits", self.probe)

    @property
    def base_exceptions(self) -> type[Exception]:
        """What a count may raise: nothing of Redis."""
        return ValueError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Counts the amount and returns the sum of this window, which ends in `expiry` seconds."""
        return self.ask(lambda counts: counts.incr(key, expiry, amount))

    def get(self, key: str) -> int:
        """Returns what was counted in this window."""
        return self.ask(lambda counts: counts.get(key))

    def get_expiry(self, key: str) -> float:
        """Returns the Unix time at which the window ends."""
        return self.ask(lambda counts: counts.get_expiry(key))

    def clear(self, key: str) -> None:
        """Forgets what was counted."""
        self.ask(lambda counts: counts.clear(key))

    def reset(self) -> int | None:
        """Forgets everything that was counted."""
        return self.ask(lambda counts: counts.reset())

    def check(self) -> bool:
        """Whether counts are shared right now."""
        return not self.breaker.is_open and bool(self.redis.check())

    def ask(self, question: Callable[[Storage], T]) -> T:
        try:
            return self.breaker.call(lambda: question(self.redis))
        except RedisError:
            return question(self.memory)

    def probe(self) -> None:
        """Counts once, over a new connection, and raises if that took half of a call's time.

        One that is near the bound would be asked and passed over by turns.
        """
        begun = time.monotonic()
        self.probed.storage.connection_pool.disconnect()
        self.probed.incr("probe", 60)
        if time.monotonic() - begun > REDIS_SECONDS / 2:
            raise TimeoutError("Redis answers too late")


def install(app: Flask, settings: Settings) -> None:
    """Counts every call by its caller, over all workers where Redis is configured."""
    calls = settings.api_calls_per_minute
    limiter = Limiter(
        by_caller,
        app=app,
        application_limits=[f"{calls} per minute"] if calls else [],
        storage_uri=SHARED + settings.redis_url if settings.redis_url else "memory://",
        # The app's user in Redis reaches keys of this prefix alone.
        storage_options={"key_prefix": f"footfall-{settings.service}:limits"},
        key_prefix=f"footfall-{settings.service}",
        swallow_errors=True,
        headers_enabled=False,
    )
    app.extensions["limits"] = limiter
    for name in OPEN_ALWAYS:
        exempt_route(app, f"chassis.{name}")
    app.register_error_handler(RateLimitExceeded, lambda _: answer_to(exceeded(limiter)))


def counter(app: Flask) -> Callable[[Caller, int], bool]:
    """Returns what counts a caller's calls that are answered beside Flask.

    It is False once the caller has none left: Flask then refuses, and says how long to wait.
    """
    limiter: Limiter = app.extensions["limits"]
    limits = [each.limit for each in limiter.limit_manager.application_limits]
    prefix = limiter._key_prefix

    def count(caller: Caller, calls: int) -> bool:
        return all(
            limiter.limiter.hit(each, prefix, caller.label, "global", cost=calls) for each in limits
        )

    return count


def exceeded(limiter: Limiter) -> TooManyRequests:
    """Returns the refusal, with the seconds until the caller may come again."""
    reached = limiter.current_limit
    wait = math.ceil(reached.reset_at - time.time()) if reached else 1
    return TooManyRequests("Too many requests: wait a moment.", retry_after=wait)


def limit_route(app: Flask, endpoint: str, limit: str) -> None:
    """Counts the calls of one registered route by address, beside the limit on all calls."""
    limiter: Limiter = app.extensions["limits"]
    view = app.view_functions[endpoint]
    counted: Any = limiter.limit(limit, key_func=by_address)(view)
    app.view_functions[endpoint] = counted


def exempt_route(app: Flask, endpoint: str) -> None:
    """Counts no call of one registered route: other services of ours live by it."""
    app.extensions["limits"].exempt(app.view_functions[endpoint])


def by_caller() -> str:
    """Returns whom a call counts for: the account or key, else the address."""
    caller = optional_caller()
    return caller.label if caller else by_address()


def by_address() -> str:
    """Returns the address a call counts for; an IPv6 one by its /64."""
    return "address:" + throttle_key(request_address())


def request_address() -> str:
    """Returns the address of the current request, as far as it can be believed."""
    if "client_address" not in g:
        g.client_address = client_address(current_app.extensions.get("client_address_secret"))
    address: str = g.client_address
    return address
