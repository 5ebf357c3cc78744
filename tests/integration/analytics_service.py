"""The analytics service as real processes on a PostgreSQL of its own, and senders to it."""

from __future__ import annotations

import hashlib
import itertools
import random
import secrets
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from tests.servers import PostgresServer
from tests.stack import Stack

numbers = itertools.count()


class Service:
    """One analytics service with two workers, and a key that may do everything a key may."""

    def __init__(self, server: PostgresServer, **settings: str) -> None:
        self.server = server
        self.database = f"analytics_{next(numbers)}"
        server.execute(f"CREATE DATABASE {self.database}")
        self.stack = Stack(
            analytics_database_url=server.url(self.database),
            parts=("analytics",),
            settings={"API_CALLS_PER_MINUTE": "0", **settings},
            workers=2,
        )
        self.stack.migrate()
        self.key = self.new_key()
        self.stack.start()

    @property
    def url(self) -> str:
        """Returns the service's address."""
        return self.stack.analytics_url

    def new_key(self) -> str:
        key = "ffk_" + secrets.token_urlsafe(32)
        digest = hashlib.sha256(key.encode()).hexdigest()
        self.execute(
            "INSERT INTO api_keys (name, scopes, digest, created_at) "
            f"VALUES ('test', 'events:write events:read reports:read', '{digest}', now())"
        )
        return key

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Runs one statement in the service's database."""
        return self.server.execute(statement, self.database)

    def session(self) -> requests.Session:
        """Returns a session that sends the key."""
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {self.key}"
        return session

    def get(self, path: str, **query: str) -> Any:
        """Returns the JSON of a GET that must succeed."""
        answer = self.session().get(self.url + path, params=query, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def verify(self) -> str:
        """Runs `verify`, which must find nothing, and returns what it says."""
        return self.stack.flask("analytics_app", "verify")


@contextmanager
def service(server: PostgresServer, **settings: str) -> Iterator[Service]:
    """Runs the service, and stops it."""
    running = Service(server, **settings)
    try:
        yield running
    finally:
        running.stack.stop()
        running.stack.folder.cleanup()


class Senders:
    """Threads that send singles and batches, repeats among them, and remember the answers."""

    def __init__(self, service: Service, count: int, pool: int = 3_000) -> None:
        self.service = service
        self.now = datetime.now(UTC)
        chance = random.Random(7)
        self.events = [self.event(chance) for _ in range(pool)]
        self.stop = threading.Event()
        self.statuses: Counter[int] = Counter()
        self.stored: set[str] = set()
        self.tried: set[str] = set()
        self.new = 0
        self.slowest = 0.0
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.send, args=(n,)) for n in range(count)]

    def event(self, chance: random.Random) -> dict[str, Any]:
        age = timedelta(seconds=chance.random() * 86_400 * 3)
        return {
            "event_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            "event_type": f"kind_{chance.randrange(5)}",
            "user_id": chance.randrange(1, 200),
            "created_at": (self.now - age).isoformat(),
        }

    def send(self, number: int) -> None:
        chance, session = random.Random(number), self.service.session()
        while not self.stop.is_set():
            single = chance.random() < 0.7
            chosen = chance.sample(self.events, 1 if single else 50)
            begun = time.monotonic()
            try:
                status, new = self.post(session, chosen, single)
            except requests.RequestException:
                status, new = 0, 0
                time.sleep(0.05)
            self.note(chosen, status, new, time.monotonic() - begun)

    def post(
        self, session: requests.Session, chosen: list[dict[str, Any]], single: bool
    ) -> tuple[int, int]:
        path = "/analytics/events" if single else "/analytics/events/batch"
        body: Any = chosen[0] if single else {"events": chosen}
        answer = session.post(self.service.url + path, json=body, timeout=30)
        if single or answer.status_code != 200:
            return answer.status_code, int(answer.status_code == 201)
        return 200, answer.json()["accepted"]

    def note(self, chosen: list[dict[str, Any]], status: int, new: int, took: float) -> None:
        with self.lock:
            names = {each["event_id"] for each in chosen}
            self.statuses[status] += 1
            self.tried |= names
            self.stored |= names if status in (200, 201) else set()
            self.new += new
            self.slowest = max(self.slowest, took)

    def __enter__(self) -> Senders:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(60)
