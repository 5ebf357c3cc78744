"""Where sessions are kept: in Redis, or in files that suit one machine."""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from cachelib.file import FileSystemCache
from redis import Redis
from redis.exceptions import LockError, RedisError

from chassis.errors import Unavailable
from dashboard_app.config import DashboardSettings

DOWN = "Sessions can't be read right now."
LOCKS = 64
PRUNE_EVERY = 3600


class Store(Protocol):
    """Small records by key, gone after their lifetime; every call may raise Unavailable."""

    def get(self, key: str) -> dict[str, Any] | None:
        """Returns the record, or None."""

    def put(self, key: str, record: dict[str, Any], seconds: int) -> None:
        """Keeps the record for that long."""

    def drop(self, *keys: str) -> None:
        """Forgets the records."""

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Holds the key alone among all workers."""

    def check(self) -> None:
        """Raises if the store is down."""


def open_store(settings: DashboardSettings) -> FileStore | RedisStore:
    """Returns the store that the settings name."""
    if settings.redis_url:
        return RedisStore(settings.redis_url)
    return FileStore(settings.session_dir)


class FileStore:
    """One file a record, in a directory that only its owner reads."""

    def __init__(self, directory: Path) -> None:
        self.records, self.locks = directory / "records", directory / "locks"
        for each in (directory, self.records, self.locks):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        # At its default threshold cachelib throws away live sessions above 500.
        self.cache = FileSystemCache(str(self.records), threshold=0, mode=0o600)
        self.pruned = time.monotonic()

    def get(self, key: str) -> dict[str, Any] | None:
        record: dict[str, Any] | None = self.cache.get(key)
        return record

    def put(self, key: str, record: dict[str, Any], seconds: int) -> None:
        self.prune()
        if not self.cache.set(key, record, seconds):
            raise Unavailable(DOWN)

    def drop(self, *keys: str) -> None:
        for key in keys:
            self.cache.delete(key)

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        slot = hashlib.sha256(key.encode()).digest()[0] % LOCKS
        with open(self.locks / str(slot), "w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    def check(self) -> None:
        probe = self.records / "health"
        probe.touch()
        probe.unlink(missing_ok=True)

    def prune(self) -> None:
        """Removes expired records once an hour; without a threshold cachelib never does."""
        now = time.monotonic()
        if now - self.pruned > PRUNE_EVERY:
            self.pruned = now
            self.cache._remove_expired(time.time())


class RedisStore:
    """JSON records in Redis, shared by all workers and machines."""

    def __init__(self, url: str) -> None:
        self.client = Redis.from_url(url, socket_connect_timeout=1, socket_timeout=2)

    def get(self, key: str) -> dict[str, Any] | None:
        with unavailable_if_down():
            text = self.client.get(key)
        return json.loads(text) if text else None

    def put(self, key: str, record: dict[str, Any], seconds: int) -> None:
        with unavailable_if_down():
            self.client.set(key, json.dumps(record), ex=seconds)

    def drop(self, *keys: str) -> None:
        with unavailable_if_down():
            self.client.delete(*keys)

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        held = self.client.lock(f"lock:{key}", timeout=15, blocking_timeout=10)
        with unavailable_if_down():
            if not held.acquire():
                raise Unavailable(DOWN)
        try:
            yield
        finally:
            release(held)

    def check(self) -> None:
        self.client.ping()


def release(held: Any) -> None:
    try:
        held.release()
    except (LockError, RedisError):
        return  # it expired, or will


@contextmanager
def unavailable_if_down() -> Iterator[None]:
    try:
        yield
    except RedisError:
        raise Unavailable(DOWN) from None
