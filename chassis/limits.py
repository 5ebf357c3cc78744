"""How often one account, key or address may call."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, current_app, g
from flask_limiter import Limiter, RateLimitExceeded

from chassis.auth import Caller, optional_caller
from chassis.client_address import client_address, throttle_key
from chassis.config import Settings
from chassis.errors import TooManyRequests
from chassis.problems import answer_to

OPEN_ALWAYS = ("health", "live", "metrics")
# In seconds, where the library itself would wait for ever; and no name is told, which the app's
# user may not do.
REDIS_OPTIONS: dict[str, Any] = {
    "socket_connect_timeout": 0.5,
    "socket_timeout": 0.5,
    "driver_info": None,
}


def install(app: Flask, settings: Settings) -> None:
    """Counts every call by its caller, over all workers where Redis is configured."""
    calls = settings.api_calls_per_minute
    limiter = Limiter(
        by_caller,
        app=app,
        application_limits=[f"{calls} per minute"] if calls else [],
        storage_uri=settings.redis_url or "memory://",
        # The app's user in Redis reaches keys of this prefix alone.
        storage_options={"key_prefix": f"footfall-{settings.service}:limits", **REDIS_OPTIONS},
        key_prefix=f"footfall-{settings.service}",
        # Without Redis a limit is still held, by each worker for itself.
        in_memory_fallback_enabled=bool(settings.redis_url),
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
        try:
            return all(
                limiter.limiter.hit(each, prefix, caller.label, "global", cost=calls)
                for each in limits
            )
        except Exception:  # Redis is gone: Flask's way knows what to do then
            return False

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
