"""Where sessions are kept: in Redis, or in files that suit one machine.

Who reads either learns no cookie and no token: a record's key holds a keyed digest of the
session's id, and its content is sealed. Who writes there can't make, lengthen or swap a record:
the seal covers the key that it is kept under, and the time it ends at.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import math
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from redis import Redis
from redis.exceptions import LockError, RedisError
from redis.lock import Lock

from chassis.errors import Unavailable
from chassis.redis_breaker import PassedOver, RedisBreaker, bounded
from dashboard_app.config import DashboardSettings

DOWN = "Sessions can't be read right now."
LOCKS = 64
NONCE_BYTES = 12
PRUNE_EVERY = 3600
REDIS_SECONDS = 0.5  # long enough for a Redis that is slow: nothing else knows the sessions
LOCK_SECONDS = 15
LOCK_WAIT_SECONDS = 10
UNFINISHED_SECONDS = 60
# The dashboard's user in Redis reaches keys of this prefix alone.
KEY_PREFIX = "footfall-dashboard:"


class Backend(Protocol):
    """Bytes by key; every call may raise Unavailable."""

    def get(self, key: str) -> bytes | None:
        """Returns what is kept, or None."""

    def put(self, key: str, content: bytes, seconds: int) -> None:
        """Keeps the content for that long."""

    def drop(self, *keys: str) -> None:
        """Forgets the keys."""

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Holds the key alone among all workers."""

    def check(self) -> None:
        """Raises if the store is down."""


class Store:
    """Small JSON records by kind and session id, gone after their lifetime.

    Every call may raise Unavailable.
    """

    def __init__(self, backend: Backend, secret: str) -> None:
        self.backend = backend
        self.names = derived(secret, "names of sessions")
        self.cipher = AESGCM(derived(secret, "contents of sessions"))

    def get(self, kind: str, sid: str) -> dict[str, Any] | None:
        """Returns the record, or None for one that is missing, over, or not as we kept it."""
        key = self.key(kind, sid)
        sealed = self.backend.get(key)
        opened = self.opened(key, sealed) if sealed else None
        return opened["record"] if opened and opened["until"] > time.time() else None

    def put(self, kind: str, sid: str, record: dict[str, Any], seconds: float) -> None:
        """Keeps the record for that long, to the fraction: none is made to last by being kept."""
        key = self.key(kind, sid)
        content = json.dumps({"until": time.time() + seconds, "record": record}).encode()
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + self.cipher.encrypt(nonce, content, key.encode())
        self.backend.put(key, sealed, math.ceil(seconds))

    def drop(self, sid: str, *kinds: str) -> None:
        """Forgets the session's records of these kinds."""
        self.backend.drop(*(self.key(kind, sid) for kind in kinds))

    def lock(self, sid: str) -> AbstractContextManager[None]:
        """Holds the session alone among all workers."""
        return self.backend.lock(self.key("lock", sid))

    def check(self) -> None:
        """Raises if the store is down."""
        self.backend.check()

    def key(self, kind: str, sid: str) -> str:
        return f"{kind}:{hmac.new(self.names, sid.encode(), hashlib.sha256).hexdigest()}"

    def opened(self, key: str, sealed: bytes) -> dict[str, Any] | None:
        nonce, content = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            opened: dict[str, Any] = json.loads(self.cipher.decrypt(nonce, content, key.encode()))
        except (InvalidTag, ValueError):  # ValueError: too short to hold a nonce
            return None
        return opened


def derived(secret: str, purpose: str) -> bytes:
    """Returns a key of 32 bytes for this purpose alone."""
    text = f"footfall dashboard {purpose}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()


def open_store(settings: DashboardSettings) -> Store:
    """Returns the store that the settings name."""
    secret = settings.secret_key.get_secret_value()
    if settings.redis_url:
        return Store(RedisBackend(settings.redis_url), secret)
    return Store(FileBackend(settings.session_dir), secret)


class FileBackend:
    """One file a record, in a directory that only its owner reads; its time is its end."""

    def __init__(self, directory: Path) -> None:
        self.records, self.locks = directory / "records", directory / "locks"
        for each in (directory, self.records, self.locks):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.pruned = float("-inf")

    def get(self, key: str) -> bytes | None:
        with unavailable_if_down():
            try:
                return (self.records / key).read_bytes()
            except FileNotFoundError:
                return None

    def put(self, key: str, content: bytes, seconds: int) -> None:
        unfinished = self.records / f"{key}.{secrets.token_hex(8)}"
        with unavailable_if_down():
            self.prune()
            with open(os.open(unfinished, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
                file.write(content)
            ends = time.time() + seconds
            os.utime(unfinished, (ends, ends))
            unfinished.replace(self.records / key)

    def drop(self, *keys: str) -> None:
        with unavailable_if_down():
            for key in keys:
                (self.records / key).unlink(missing_ok=True)

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        slot = hashlib.sha256(key.encode()).digest()[0] % LOCKS
        with unavailable_if_down():
            held = open(self.locks / str(slot), "w")  # noqa: SIM115
        with held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    def check(self) -> None:
        probe = self.records / "health"
        probe.touch()
        probe.unlink(missing_ok=True)

    def prune(self) -> None:
        """Removes what is over, at the first record and then once an hour."""
        now = time.monotonic()
        if now - self.pruned <= PRUNE_EVERY:
            return
        self.pruned = now
        for path in self.records.iterdir():
            if over(path):
                path.unlink(missing_ok=True)


def over(path: Path) -> bool:
    """Whether the file's end has passed, and nobody can still be writing it."""
    try:
        return path.stat().st_mtime < time.time() - UNFINISHED_SECONDS
    except FileNotFoundError:
        return False


class RedisBackend:
    """Keys in Redis, shared by all workers and machines.

    Once Redis did not answer, all calls raise Unavailable at once until it is well again.
    """

    def __init__(self, url: str) -> None:
        self.client = Redis.from_url(url, **bounded(url, REDIS_SECONDS))
        self.breaker = RedisBreaker("sessions", self.probe)
        self.doubtful: list[tuple[Lock, str]] = []

    def get(self, key: str) -> bytes | None:
        found: bytes | None = self.ask(lambda: self.client.get(KEY_PREFIX + key))
        return found

    def put(self, key: str, content: bytes, seconds: int) -> None:
        self.ask(lambda: self.client.set(KEY_PREFIX + key, content, ex=max(1, seconds)))

    def drop(self, *keys: str) -> None:
        self.ask(lambda: self.client.delete(*(KEY_PREFIX + key for key in keys)))

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        held, token = self.client.lock(KEY_PREFIX + key, timeout=LOCK_SECONDS), secrets.token_hex()
        with unavailable_if_down():
            if not self.acquire(held, token):
                raise Unavailable(DOWN)
        try:
            yield
        finally:
            self.release(held, token)

    def acquire(self, held: Lock, token: str) -> bool:
        take = partial(held.acquire, blocking_timeout=LOCK_WAIT_SECONDS, token=token)
        try:
            return bool(self.breaker.call(take))
        except PassedOver:
            raise
        except RedisError:
            self.doubtful.append((held, token))
            raise

    def release(self, held: Lock, token: str) -> None:
        try:
            self.breaker.call(partial(self.give_back, held, token))
        except RedisError:
            self.doubtful.append((held, token))

    def give_back(self, held: Lock, token: str) -> None:
        with suppress(LockError):  # it expired
            held.do_release(token)

    def check(self) -> None:
        self.ask(self.client.ping)

    def ask(self, command: Callable[[], Any]) -> Any:
        with unavailable_if_down():
            return self.breaker.call(command)

    def probe(self) -> None:
        """Writes, and gives back the locks that a Redis which did not answer may have kept."""
        self.client.set(KEY_PREFIX + "probe", b"", ex=60)
        while self.doubtful:
            self.give_back(*self.doubtful[-1])
            self.doubtful.pop()


@contextmanager
def unavailable_if_down() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError):
        raise Unavailable(DOWN) from None
