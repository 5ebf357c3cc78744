"""Large sets of events, made inside the database: the same people on the same days in each."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg2

from benchmarks.serving import BIN, ROOT

DAYS = 90
PEOPLE = 3_000  # every one of them is active on every third day
ACTIVE_A_DAY = PEOPLE // 3

EVENTS = """
INSERT INTO events (actor, created_at, event_id, event_type, user_id, metadata)
SELECT actor, created_at, gen_random_uuid(), event_type, actor, metadata
FROM (
    SELECT person AS actor,
           %(day)s::timestamptz + random() * interval '86399 seconds' AS created_at,
           'kind_' || floor(random() * 20)::int AS event_type,
           json_build_object('path', '/page/' || floor(random() * 50)::int, 'plan', 'pro',
                             'duration', floor(random() * 900)::int) AS metadata
    FROM generate_series(1, %(people)s) AS person, generate_series(1, %(each)s) AS n
    WHERE (person + %(number)s) %% 3 = 0
) AS made ORDER BY created_at
"""
COUNTS = """
INSERT INTO counts SELECT floor(date_part('epoch', created_at) / 900)::int, event_type, 0, count(*)
FROM events GROUP BY 1, 2
"""
DAY_COUNTS = """
INSERT INTO counts_day SELECT quarter / 96, event_type, 0, sum(count) FROM counts GROUP BY 1, 2
"""
TYPES = """
INSERT INTO event_types (event_type, created_at, erasing)
SELECT DISTINCT event_type, now(), false FROM counts_day ON CONFLICT DO NOTHING
"""
PRESENCE = """
INSERT INTO presence
SELECT quarter / 96, actor,
       bit_or(CASE WHEN quarter % 96 < 48 THEN 1::bigint << quarter % 96 ELSE 0 END),
       bit_or(CASE WHEN quarter % 96 < 48 THEN 0 ELSE 1::bigint << quarter % 96 - 48 END)
FROM (SELECT DISTINCT actor, floor(date_part('epoch', created_at) / 900)::int AS quarter
      FROM events) AS seen
GROUP BY 1, 2
"""


def first_day() -> date:
    """Returns the first of the days, which end yesterday."""
    return datetime.now(UTC).date() - timedelta(days=DAYS)


def fill(url: str, events: int) -> int:
    """Fills a migrated, empty database with about so many events and their rollups."""
    each = max(1, round(events / (DAYS * ACTIVE_A_DAY)))
    prepare_partitions(url)
    connection = psycopg2.connect(url, options="-c timezone=UTC")
    connection.autocommit = True
    with connection.cursor() as cursor:
        for number in range(DAYS):
            day = first_day() + timedelta(days=number)
            given = {"day": day, "people": PEOPLE, "each": each, "number": number}
            cursor.execute(EVENTS, given)
        for statement in (COUNTS, DAY_COUNTS, PRESENCE, TYPES, "VACUUM ANALYZE"):
            cursor.execute(statement)
        cursor.execute("SELECT count(*) FROM events")
        found = cursor.fetchone()
    connection.close()
    return int(found[0]) if found else 0


def prepare_partitions(url: str, root: Path = ROOT) -> None:
    """Makes the partitions as ingest makes them on demand."""
    code = (
        "from datetime import UTC, datetime, timedelta as t; import psycopg2, sys;"
        "from analytics_app.dialects import partitions, postgresql;"
        "from sqlalchemy import create_engine;"
        "engine = create_engine(sys.argv[1].replace('postgresql://', 'postgresql+psycopg2://'),"
        " connect_args={'options': '-c timezone=UTC'});"
        "now = datetime.now(UTC);"
        f"postgresql.prepare_partitions(engine, [now - t(days=n) for n in range(-1, {DAYS} + 2)])"
    )
    subprocess.run([BIN / "python", "-c", code, url], cwd=root, env=os.environ, check=True)
