"""A Redis that stops: a page that needs its session is soon a 503, and the rest goes on."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from chassis.errors import Unavailable
from chassis.limits import REDIS_SECONDS as LIMITS_SECONDS
from dashboard_app import store as stores
from dashboard_app.store import RedisBackend, Store
from tests.servers import BUSY_SECONDS, valkey, wait_until
from tests.unit.dashboard.conftest import MakePlatform, Platform

BACK_SECONDS = 3 + BUSY_SECONDS
REDIS_SECONDS = 3.0  # more than a busy machine adds to any call


@pytest.fixture
def redis() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with valkey() as started:
        yield started


@contextmanager
def stopped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def backend_of(platform: Platform) -> RedisBackend:
    store: Store = platform.app.extensions["session_store"]
    assert isinstance(store.backend, RedisBackend)
    return store.backend


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.monotonic()
    return call(), time.monotonic() - begun


def test_a_page_waits_once_and_is_a_503_and_pages_for_strangers_stand(
    make_platform: MakePlatform,
    redis: tuple[str, subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stores, "REDIS_SECONDS", REDIS_SECONDS)
    address, process = redis
    platform = make_platform(redis_url=address)
    ada, stranger = platform.person("ada"), platform.visitor()
    assert ada.get("/settings").status_code == 200
    with stopped(process):
        answer, took = timed(lambda: ada.get("/settings"))
        assert answer.status_code == 503
        assert took < REDIS_SECONDS + LIMITS_SECONDS + BUSY_SECONDS
        assert int(answer.headers["Retry-After"]) >= 1
        for browser, path, status in (
            (ada, "/settings", 503),
            (ada, "/login", 200),
            (ada, "/health/live", 200),
            (ada, "/health", 503),
            (stranger, "/login", 200),
            (stranger, "/health", 503),
            (stranger, "/", 302),
        ):
            answer, took = timed(lambda browser=browser, path=path: browser.get(path))
            assert (answer.status_code, took < REDIS_SECONDS) == (status, True), (path, took)
    wait_until("its return", lambda: ada.get("/settings").status_code == 200, BACK_SECONDS)
    assert ada.get("/health").status_code == 200


def test_a_lock_that_redis_took_without_a_word_is_given_back(
    redis: tuple[str, subprocess.Popen[bytes]],
) -> None:
    address, process = redis
    backend = RedisBackend(address)
    backend.put("session:1", b"kept", 60)
    with stopped(process), pytest.raises(Unavailable), backend.lock("lock:1"):
        pass
    wait_until("its return", lambda: not backend.breaker.is_open, BACK_SECONDS)
    _, took = timed(lambda: hold(backend, "lock:1"))
    assert took < BUSY_SECONDS


def test_a_lock_held_over_a_stall_is_given_back(
    redis: tuple[str, subprocess.Popen[bytes]],
) -> None:
    address, process = redis
    backend, other = RedisBackend(address), RedisBackend(address)
    process_stop = stopped(process)
    with backend.lock("lock:1"):
        process_stop.__enter__()
    process_stop.__exit__(None, None, None)
    wait_until("its return", lambda: not backend.breaker.is_open, BACK_SECONDS)
    _, took = timed(lambda: hold(other, "lock:1"))
    assert took < BUSY_SECONDS


def hold(backend: RedisBackend, key: str) -> None:
    with backend.lock(key):
        return


def test_a_lock_that_somebody_else_holds_is_left_alone(
    redis: tuple[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "LOCK_WAIT_SECONDS", 0.2)
    backend, other = RedisBackend(redis[0]), RedisBackend(redis[0])
    with other.lock("lock:1"):
        for _ in range(2):
            with pytest.raises(Unavailable), backend.lock("lock:1"):
                pass
    hold(backend, "lock:1")


def test_what_redis_refuses_is_a_503_and_no_500(
    make_platform: MakePlatform, redis: tuple[str, subprocess.Popen[bytes]]
) -> None:
    platform = make_platform(redis_url=redis[0])
    ada = platform.person("ada")
    backend = backend_of(platform)
    backend.client.config_set("maxmemory", 1)
    assert ada.get("/settings").status_code in (200, 503)
    refused = platform.visitor().sign_in("ada")
    assert refused.status_code == 503
    backend.client.config_set("maxmemory", 0)
    wait_until("its return", lambda: not backend.breaker.is_open, BACK_SECONDS)
    assert ada.get("/settings").status_code == 200
