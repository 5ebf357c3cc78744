"""An account with very many events is erased, and nobody else waits for it."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
import requests

from tests.servers import wait_until
from tests.stack import Stack

HEAVY = 7
EVENTS = {"postgresql": 200_000, "sqlite": 20_000}
SECONDS = {"postgresql": 5, "sqlite": 60}  # between one event and the next
# The machine may be busy: this is about who waits for whom.
PATIENT = {"INGEST_TIMEOUT_MS": "10000", "REPORT_TIMEOUT_MS": "30000", "LOG_LEVEL": "INFO"}
FILL = """
INSERT INTO event_types (event_type, created_at, erasing)
SELECT 'kind_' || g, now(), false FROM generate_series(0, 4) g ON CONFLICT DO NOTHING;
INSERT INTO events (actor, created_at, event_id, event_type, user_id, metadata)
SELECT {user}, TIMESTAMPTZ '{newest}' - g * INTERVAL '{seconds} seconds', gen_random_uuid(),
       'kind_' || g % 5, {user}, '{{"page": "/"}}'
FROM generate_series(1, {events}) g;
INSERT INTO counts (quarter, event_type, slot, count)
SELECT floor(date_part('epoch', created_at) / 900)::int, event_type, 0, count(*)
FROM events WHERE actor = {user} GROUP BY 1, 2
ON CONFLICT (quarter, event_type, slot) DO UPDATE SET count = counts.count + excluded.count;
INSERT INTO counts_day (day, event_type, slot, count)
SELECT floor(date_part('epoch', created_at) / 86400)::int, event_type, 0, count(*)
FROM events WHERE actor = {user} GROUP BY 1, 2
ON CONFLICT (day, event_type, slot) DO UPDATE SET count = counts_day.count + excluded.count;
INSERT INTO presence (day, actor, low, high)
SELECT q / 96, {user}, bit_or(CASE WHEN q % 96 < 48 THEN 1::bigint << (q % 96) ELSE 0 END),
       bit_or(CASE WHEN q % 96 < 48 THEN 0 ELSE 1::bigint << (q % 96 - 48) END)
FROM (SELECT DISTINCT floor(date_part('epoch', created_at) / 900)::int AS q
      FROM events WHERE actor = {user}) AS quarters GROUP BY q / 96;
ANALYZE;
"""


class Platform:
    """Users, analytics and maintenance, called by an admin."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.headers = stack.first_account()

    def call(self, method: str, path: str, **given: Any) -> requests.Response:
        url = f"{self.stack.analytics_url}/analytics{path}"
        return requests.request(method, url, headers=self.headers, timeout=60, **given)

    def send(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        answer = self.call("POST", "/events/batch", json={"events": events})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def total(self) -> int:
        answer = self.call("GET", "/events/by-type")
        assert answer.status_code == 200, answer.text
        total: int = answer.json()["total"]
        return total


class Others(threading.Thread):
    """Does one thing over and over, and keeps how it was answered and how long it took."""

    def __init__(self, act: Callable[[], int]) -> None:
        super().__init__()
        self.act = act
        self.stop = threading.Event()
        self.statuses: Counter[int] = Counter()
        self.took: list[float] = []

    def run(self) -> None:
        while not self.stop.is_set():
            begun = time.monotonic()
            self.statuses[self.act()] += 1
            self.took.append(time.monotonic() - begun)
            self.stop.wait(0.02)


def an_event(user_id: int, at: datetime, number: int = 0) -> dict[str, Any]:
    return {
        "event_id": str(uuid.uuid4()),
        "event_type": f"kind_{number % 5}",
        "user_id": user_id,
        "created_at": at.isoformat(),
    }


def fill(platform: Platform, url: str | None, events: int, seconds: int) -> None:
    """Gives the heavy account its events: by SQL on PostgreSQL, where they are very many."""
    newest = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
    if url is None:
        for start in range(0, events, 5_000):
            numbers = range(start, min(start + 5_000, events))
            times = [(n, newest - timedelta(seconds=seconds * n)) for n in numbers]
            assert platform.send([an_event(HEAVY, at, n) for n, at in times])["accepted"]
        return
    # Whoever stores an event makes its partition.
    weeks = range(events * seconds // 604_800 + 2)
    platform.send([an_event(1, newest - timedelta(weeks=each)) for each in weeks])
    given = {"user": HEAVY, "newest": newest.isoformat(), "seconds": seconds, "events": events}
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SET timezone = 'UTC'")
        cursor.execute(FILL.format(**given))


@pytest.fixture
def platform(
    database_url: str, new_postgres_database: Callable[[], str]
) -> Iterator[tuple[Platform, str | None]]:
    url = None if database_url == "sqlite://" else new_postgres_database()
    parts = ("users", "analytics", "maintenance")
    with Stack(analytics_database_url=url, parts=parts, settings=PATIENT, workers=2) as stack:
        yield Platform(stack), url


def test_nobody_waits_for_the_erasure_of_very_many_events(
    platform: tuple[Platform, str | None],
) -> None:
    here, url = platform
    engine = "postgresql" if url else "sqlite"
    fill(here, url, EVENTS[engine], SECONDS[engine])
    before = here.total() - EVENTS[engine]
    others = [
        Others(
            lambda: here.call("POST", "/events", json=an_event(9, datetime.now(UTC))).status_code
        ),
        Others(lambda: here.call("GET", "/summary").status_code),
        Others(lambda: requests.get(f"{here.stack.analytics_url}/health", timeout=60).status_code),
    ]
    for each in others:
        each.start()
    try:
        answer = here.call("DELETE", f"/users/{HEAVY}/events")
        assert answer.status_code == 202, answer.text
        assert here.call("GET", f"/users/{HEAVY}/events").json()["items"] == []
        done = finished(here, answer.json()["erasure"], kill=engine == "postgresql")
    finally:
        for each in others:
            each.stop.set()
        for each in others:
            each.join(60)
    ingest, summary, health = others
    assert (done["events"], done["erased"]) == (EVENTS[engine], EVENTS[engine])
    assert set(ingest.statuses) == {201}
    assert set(summary.statuses) == set(health.statuses) == {200}
    assert here.total() == before + ingest.statuses[201]
    late = here.send([an_event(HEAVY, datetime.now(UTC) - timedelta(days=1))])
    assert [each["status"] for each in late["results"]] == ["erased"]
    assert "0 of them differ" in here.stack.flask("analytics_app", "verify")


def finished(here: Platform, number: int, *, kill: bool) -> dict[str, Any]:
    """Returns the erasure once it is done; maintenance is killed once in the middle of it."""

    def shown() -> dict[str, Any]:
        answer = here.call("GET", f"/erasures/{number}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    if kill:
        wait_until("the first slice", lambda: shown()["erased"] > 0, 60)
        here.stack.kill("maintenance")
        assert shown()["state"] == "erasing"
        here.stack.start("maintenance")
    wait_until("the erasure", lambda: shown()["state"] == "done", 300, 0.5)
    return shown()
