"""Measures what docs/operations.md plans with: `make capacity`.

Bytes for each stored event and each rollup row on PostgreSQL, the memory of each process, and
how many events one worker takes a second. Speeds are this machine's; sizes are not.
"""

from __future__ import annotations

import random
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from tests.servers import PostgresServer
from tests.stack import Stack

EVENTS, BATCH, PEOPLE, DAYS = 200_000, 2_000, 5_000, 30
KINDS = ("page_view", "search", "feature_used", "file_uploaded", "checkout_started", "purchase")
PAGES = ("/", "/pricing", "/docs", "/blog", "/projects", "/settings/team")
TABLES = ("events", "counts", "counts_day", "presence")


def main() -> int:
    settings = {"FIRST_ACCOUNT_IS_ADMIN": "true"}
    with PostgresServer(durable=True) as server:
        for name in ("users", "analytics"):
            server.execute(f"CREATE DATABASE {name}")
        urls = [server.url(name) for name in ("users", "analytics")]
        stack = Stack(users_database_url=urls[0], analytics_database_url=urls[1], settings=settings)
        with stack:
            seconds = load(stack)
            requests.get(f"{stack.dashboard_url}/login", timeout=10)
            report_memory(stack)
        print(f"{EVENTS / seconds:,.0f} events a second in batches of {BATCH:,}, one worker")
        report_sizes(server)
    return 0


def load(stack: Stack) -> float:
    """Sends all events; returns the seconds that the service took."""
    session = requests.Session()
    session.headers.update(stack.first_account())
    chance, taken = random.Random(7), 0.0
    for _ in range(EVENTS // BATCH):
        body = {"events": [event(chance) for _ in range(BATCH)]}
        began = time.perf_counter()
        answer = session.post(
            f"{stack.analytics_url}/analytics/events/batch", json=body, timeout=60
        )
        taken += time.perf_counter() - began
        assert answer.status_code == 200, answer.text[:500]
        assert answer.json()["accepted"] == BATCH
    return taken


def event(chance: random.Random) -> dict[str, Any]:
    ago = timedelta(seconds=chance.uniform(0, DAYS * 86400))
    return {
        "event_id": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "event_type": chance.choices(KINDS, (50, 20, 15, 8, 4, 3))[0],
        "user_id": chance.randint(1, PEOPLE),
        "created_at": (datetime.now(UTC) - ago).isoformat(),
        "metadata": {"page": chance.choice(PAGES), "plan": "team", "device": "mobile"},
    }


def report_memory(stack: Stack) -> None:
    for name, process in stack.processes.items():
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        own, workers = resident(process.pid), [resident(int(each)) for each in children]
        of_workers = ", worker " + " ".join(f"{each:.0f}" for each in workers) if workers else ""
        print(f"{name}: {own:.0f} MB{of_workers}")


def resident(pid: int) -> float:
    """Returns a process's own share of memory in MB: shared pages count by their sharers."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(each.split()[1]) / 1024 for each in lines if each.startswith("Pss:"))


def report_sizes(server: PostgresServer) -> None:
    for table in TABLES:
        server.execute(f"VACUUM ANALYZE {table}", "analytics")
        [(rows, size)] = server.execute(
            f"SELECT (SELECT count(*) FROM {table}), sum(pg_total_relation_size(relid))"
            f" FROM pg_partition_tree('{table}')",
            "analytics",
        )
        if not size:
            [(size,)] = server.execute(f"SELECT pg_total_relation_size('{table}')", "analytics")
        assert isinstance(rows, int)
        print(f"{table}: {rows:,} rows, {float(str(size)) / rows:.0f} bytes each with indexes")


if __name__ == "__main__":
    sys.exit(main())
