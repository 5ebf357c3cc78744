"""Summary over 30 days at two sizes, and against the same answer by SQL over raw events."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import timedelta

import psycopg2
import requests

from benchmarks.dataset import DAYS, first_day
from benchmarks.serving import footfall, new_key

RAW = """
SELECT (SELECT json_object_agg(event_type, n) FROM (
            SELECT event_type, count(*) AS n FROM events
            WHERE created_at >= %(start)s AND created_at < %(end)s GROUP BY 1) AS types),
       (SELECT count(DISTINCT actor) FROM events
        WHERE created_at >= %(start)s AND created_at < %(end)s AND actor <> 0),
       (SELECT json_agg(days) FROM (
            SELECT date_trunc('day', created_at, 'UTC') AS day, count(*), count(DISTINCT actor)
            FROM events WHERE created_at >= %(start)s AND created_at < %(end)s GROUP BY 1) AS days)
"""


def month() -> dict[str, str]:
    """Returns the 30 days that the report is asked for."""
    end = first_day() + timedelta(days=DAYS)
    return {"start": str(end - timedelta(days=30)), "end": str(end)}


def summary_seconds(url: str, repeats: int) -> float:
    """Returns the median time of the summary over HTTP."""
    key = new_key(url)
    with footfall(url) as port, requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {key}"

        def ask() -> None:
            address = f"http://127.0.0.1:{port}/analytics/summary"
            session.get(address, params=month(), timeout=60).raise_for_status()

        return median_seconds(ask, repeats)


def raw_seconds(url: str, repeats: int) -> float:
    """Returns the median time of the same figures by SQL over raw events."""
    connection = psycopg2.connect(url)
    with connection.cursor() as cursor:

        def ask() -> None:
            cursor.execute(RAW, month())
            cursor.fetchall()

        found = median_seconds(ask, repeats)
    connection.close()
    return found


def median_seconds(ask: Callable[[], None], repeats: int) -> float:
    ask()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        ask()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)
