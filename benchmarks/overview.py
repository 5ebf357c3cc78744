"""The overview's server time on PostgreSQL: python -m benchmarks.overview [EVENTS] [--write FILE].

Each fragment is asked for over HTTP, one after the other, and timed by the client; the sum is
what one visit costs the dashboard and both services together.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import requests

from benchmarks.dataset import fill
from benchmarks.papers import put
from tests.servers import PostgresServer
from tests.stack import Stack

EVENTS = 1_000_000
ROUNDS = 30
PASSWORD = "correct horse battery"
PARTS = ("/", "/overview/trend", "/overview/types", "/overview/bars", "/overview/latest",
         "/overview/pulse")  # fmt: skip


def main() -> int:
    """Prints the median of each part and of the whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", nargs="?", type=int, default=EVENTS)
    parser.add_argument("--write", type=Path, help="a document to put the figures into")
    given = parser.parse_args()
    with PostgresServer(durable=True) as server:
        server.execute("CREATE DATABASE analytics")
        url = server.url("analytics")
        stack = Stack(analytics_database_url=url)
        stack.migrate()
        stored = fill(url, given.events)
        stack.start()
        try:
            text = report(stored, measured(stack))
        finally:
            stack.stop()
    print(text)
    if given.write:
        put(given.write, "overview", text)
    return 0


def measured(stack: Stack) -> dict[str, list[float]]:
    """Returns the milliseconds of each part, round by round."""
    session = signed_in(stack)
    taken: dict[str, list[float]] = {part: [] for part in PARTS}
    for _ in range(ROUNDS + 1):
        for part in PARTS:
            begun = time.perf_counter()
            session.get(stack.dashboard_url + part, timeout=30).raise_for_status()
            taken[part].append((time.perf_counter() - begun) * 1000)
    # The first round opens connections and fills caches.
    return {part: times[1:] for part, times in taken.items()}


def signed_in(stack: Stack) -> requests.Session:
    account = {"email": "a@example.com", "username": "ada", "password": PASSWORD}
    requests.post(f"{stack.users_url}/users", json=account, timeout=10).raise_for_status()
    session = requests.Session()
    form = session.get(f"{stack.dashboard_url}/login", timeout=10).text
    token = form.partition('name="csrf_token" value="')[2].partition('"')[0]
    credentials = {"csrf_token": token, "username": "ada", "password": PASSWORD}
    session.post(f"{stack.dashboard_url}/login", data=credentials, timeout=10).raise_for_status()
    session.headers["HX-Request"] = "true"
    return session


def report(stored: int, taken: dict[str, list[float]]) -> str:
    """Returns the median of each part and of all, as a table."""
    rounds = [sum(each) for each in zip(*taken.values(), strict=True)]
    rows = {f"`{part}`": times for part, times in taken.items()} | {"all parts": rounds}
    return "\n".join(
        [
            f"{stored:,} events, median of {ROUNDS} rounds:",
            "",
            "| part | ms |",
            "|---|---|",
            *(f"| {part} | {statistics.median(times):.1f} |" for part, times in rows.items()),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
