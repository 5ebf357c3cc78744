"""Millions of events for the behaviour reports: put into the tables by SQL, with their rollups."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import subprocess
import time

import psycopg2

from benchmarks.serving import BIN, ROOT

START, END = "2026-06-01", "2026-08-30"  # 90 days
MONTHS = ("2026-06-01", "2026-07-01", "2026-08-01", "2026-09-01")
USERS = 100_000

# Users appear over the first 60% of the time and stay; kinds, plans and paths are even.
EVENTS = f"""
INSERT INTO events (actor, created_at, event_id, event_type, user_id, metadata)
SELECT u, TIMESTAMPTZ '{START} 00:00Z' + INTERVAL '90 days' * (since + (1 - since) * random()),
       gen_random_uuid(), 'kind_' || floor(random() * 20)::int, u,
       json_build_object('path', '/page/' || floor(random() * 50)::int,
                         'plan', (ARRAY['free', 'pro', 'team'])[1 + floor(random() * 3)::int],
                         'amount', floor(random() * 900)::int)
FROM (
    SELECT u, 0.6 * (u %% 1000) / 1000.0 AS since
    FROM (SELECT 1 + floor(random() * {USERS})::bigint AS u FROM generate_series(1, %s)) AS drawn
) AS people
"""
COUNTS = """
INSERT INTO counts (quarter, event_type, slot, count)
SELECT floor(date_part('epoch', created_at) / 900)::int, event_type, 0, count(*)
FROM events GROUP BY 1, 2
"""
PRESENCE = """
INSERT INTO presence (day, actor, low, high)
SELECT quarter / 96, actor,
       bit_or(CASE WHEN quarter % 96 < 48 THEN 1::bigint << (quarter % 96) ELSE 0 END),
       bit_or(CASE WHEN quarter % 96 < 48 THEN 0 ELSE 1::bigint << (quarter % 96 - 48) END)
FROM (SELECT actor, floor(date_part('epoch', created_at) / 900)::int AS quarter FROM events) AS e
GROUP BY 1, 2
"""


def fill(url: str, events: int) -> None:
    """Stores so many events of 90 days, counts them, and seals every day."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off; SET maintenance_work_mem = '1GB'")
        for first, after in itertools.pairwise(MONTHS):
            name = "events_" + re.sub(r"\D", "", first)
            cursor.execute(
                f"CREATE TABLE {name} PARTITION OF events "
                f"FOR VALUES FROM ('{first} 00:00Z') TO ('{after} 00:00Z')"
            )
        store(cursor, events)
        for statement in (COUNTS, PRESENCE, "VACUUM ANALYZE"):
            cursor.execute(statement)
    connection.close()


def store(cursor: psycopg2.extensions.cursor, events: int) -> None:
    """Inserts without indexes, which are built at once afterwards."""
    cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = 'events_by_type'")
    index = cursor.fetchone()[0].replace("ON ONLY", "ON")
    cursor.execute("ALTER TABLE events DROP CONSTRAINT events_pkey")
    cursor.execute("DROP INDEX events_by_type")
    cursor.execute(EVENTS, (events,))
    cursor.execute("ALTER TABLE events ADD PRIMARY KEY (actor, created_at, event_id)")
    cursor.execute(index)


def seal(url: str) -> float:
    """Runs the command that seals all closed days; returns how many seconds it took."""
    settings = {
        "ANALYTICS_DATABASE_URL": url,
        "SECRET_KEY": secrets.token_hex(32),
        "LOG_LEVEL": "ERROR",
    }
    begun = time.perf_counter()
    subprocess.run(
        [BIN / "flask", "--app", "analytics_app", "seal"],
        cwd=ROOT, env={**os.environ, **settings}, check=True, capture_output=True,
    )  # fmt: skip
    return time.perf_counter() - begun
