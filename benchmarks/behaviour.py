"""Behaviour reports through HTTP, each beside the plain SQL that one would first write."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg2
import requests

from benchmarks.behaviour_data import END, START, fill, seal
from benchmarks.dataset import prepare_partitions
from benchmarks.serving import ROOT, footfall, load, new_database, new_key
from tests.servers import PostgresServer

MONTH = {"start": "2026-07-31", "end": END, "tz": "UTC"}
WITHIN_MONTH = "created_at >= '2026-07-31 00:00Z' AND created_at < '2026-08-30 00:00Z'"
WITHIN_ALL = f"created_at >= '{START} 00:00Z' AND created_at < '{END} 00:00Z'"


@dataclass(frozen=True)
class Report:
    """One report as it is asked for, the plain SQL, and how many times faster it must be."""

    name: str
    method: str
    path: str
    given: dict[str, Any]
    plain: str
    at_least: int


# Every event of the first step begins an attempt, and a person counts by the one that got
# furthest: whoever looks at first events only gives another answer.
FUNNEL = f"""
WITH one AS (
    SELECT actor, created_at AS at FROM events
    WHERE event_type = 'kind_0' AND {WITHIN_MONTH} AND actor <> 0
), two AS (
    SELECT one.actor, one.at AS began, min(e.created_at) AS at
    FROM one LEFT JOIN events e ON e.actor = one.actor AND e.event_type = 'kind_1'
         AND {WITHIN_MONTH} AND e.created_at BETWEEN one.at AND one.at + INTERVAL '7 days'
    GROUP BY one.actor, one.at
), three AS (
    SELECT two.actor, two.began, two.at AS second, min(e.created_at) AS third
    FROM two LEFT JOIN events e ON e.actor = two.actor AND e.event_type = 'kind_2'
         AND {WITHIN_MONTH} AND e.created_at BETWEEN two.at AND two.began + INTERVAL '7 days'
    GROUP BY two.actor, two.began, two.at
), best AS (
    SELECT DISTINCT ON (actor) * FROM three
    ORDER BY actor, third IS NULL, second IS NULL, began
)
SELECT count(*), count(second), count(third),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY second - began),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY third - second)
FROM best
"""
BREAKDOWN = f"""
SELECT metadata->>'plan', count(*), count(DISTINCT actor), sum((metadata->>'amount')::numeric),
       avg((metadata->>'amount')::numeric),
       percentile_cont(ARRAY[0.5, 0.95])
           WITHIN GROUP (ORDER BY (metadata->>'amount')::double precision)
FROM events WHERE event_type = 'kind_0' AND {WITHIN_MONTH} GROUP BY 1 ORDER BY 2 DESC
"""
PATHS = f"""
WITH told AS (
    SELECT actor, created_at, event_type,
           lag(event_type) OVER (PARTITION BY actor ORDER BY created_at, event_type) AS before
    FROM events WHERE {WITHIN_MONTH} AND actor <> 0
), walked AS (
    SELECT actor, event_type,
           lead(event_type, 1) OVER w AS one,
           lead(event_type, 2) OVER w AS two,
           lead(event_type, 3) OVER w AS three
    FROM told WHERE before IS DISTINCT FROM event_type
    WINDOW w AS (PARTITION BY actor ORDER BY created_at, event_type)
)
SELECT one, two, three, count(DISTINCT actor), count(*) FROM walked
WHERE event_type = 'kind_0' GROUP BY GROUPING SETS ((one), (one, two), (one, two, three))
ORDER BY 4 DESC LIMIT 30
"""
RETENTION = f"""
WITH firsts AS (
    SELECT actor, date_trunc('week', min(created_at), 'UTC') AS cohort
    FROM events WHERE actor <> 0 GROUP BY actor
), active AS (
    SELECT DISTINCT actor, date_trunc('week', created_at, 'UTC') AS week
    FROM events WHERE {WITHIN_ALL} AND actor <> 0
)
SELECT cohort, week, count(*) FROM firsts JOIN active USING (actor) GROUP BY 1, 2 ORDER BY 1, 2
"""

STEPS = [{"event_type": f"kind_{number}"} for number in range(3)]
REPORTS = (
    Report("3-step funnel, 30 days", "POST", "funnel", {"steps": STEPS, "window": "7d", **MONTH},
           FUNNEL, 10),
    Report("breakdown, 30 days", "GET", "breakdown",
           {"event_type": "kind_0", "key": "plan", "measure": "amount", **MONTH}, BREAKDOWN, 10),
    Report("paths, 30 days, 3 levels", "GET", "paths", {"event_type": "kind_0", **MONTH},
           PATHS, 10),
    Report("weekly retention, 90 days", "GET", "retention",
           {"start": START, "end": END, "tz": "UTC", "interval": "week"}, RETENTION, 50),
)  # fmt: skip


def milliseconds(work: Callable[[], Any], times: int) -> float:
    """Returns the median time of some runs, after one that warms up."""
    work()
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        found.append((time.perf_counter() - begun) * 1000)
    return statistics.median(found)


class Asker:
    """Asks our service as any client would."""

    def __init__(self, port: int, key: str) -> None:
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {key}"
        self.base = f"http://127.0.0.1:{port}/analytics/"

    def ask(self, report: Report) -> Any:
        if report.method == "POST":
            answer = self.session.post(self.base + report.path, json=report.given)
        else:
            answer = self.session.get(self.base + report.path, params=report.given)
        answer.raise_for_status()
        return answer.json()


def measure(url: str, port: int, runs: int) -> list[tuple[Report, float, float]]:
    """Returns each report with its median time and that of the plain SQL, in milliseconds."""
    asker = Asker(port, new_key(url))
    connection = psycopg2.connect(url)
    connection.autocommit = True
    found = []
    with connection.cursor() as cursor:
        cursor.execute("SET timezone = 'UTC'")

        def plainly(sql: str) -> list[tuple[Any, ...]]:
            cursor.execute(sql)
            return cursor.fetchall()

        agree(asker.ask(REPORTS[0]), plainly(FUNNEL)[0])

        for report in REPORTS:
            ours = milliseconds(lambda report=report: asker.ask(report), runs)  # type: ignore[misc]
            plain = milliseconds(lambda report=report: plainly(report.plain), 3)  # type: ignore[misc]
            found.append((report, ours, plain))
    connection.close()
    return found


def agree(funnel: Any, plain: tuple[Any, ...]) -> None:
    """Asserts that both ways to a funnel come to the same people and the same medians."""
    users = [step["users"] for step in funnel["steps"]]
    medians = [step["median_seconds"] for step in funnel["steps"][1:]]
    assert users == [*plain[:3]], (users, plain)
    for ours, theirs in zip(medians, plain[3:], strict=True):
        assert abs(ours - theirs.total_seconds()) < 1, (medians, plain)


def run(server: PostgresServer, events: int, runs: int) -> list[tuple[Report, float, float]]:
    """Fills and seals a database of so many events, and measures every report on it."""
    url = new_database(server, "behaviour")
    fill(url, events)
    seal(url)
    with footfall(url) as port:
        return measure(url, port, runs)


def ingest_rates(
    server: PostgresServer, seconds: float, connections: int, rounds: int
) -> tuple[float, float]:
    """Returns the median rate of single events beside all reports in a loop each, and alone.

    On the database that `run` has filled.
    """
    url = server.url("behaviour")
    prepare_partitions(url)
    key = new_key(url)
    alone, beside = [], []
    with footfall(url, WEB_THREADS="16") as port:

        def rate(seconds: float) -> float:
            return load(port, "/analytics/events", seconds, connections, "single", key)["rate"]

        warm = min(3.0, seconds)
        for _ in range(rounds):
            rate(warm)
            alone.append(rate(seconds))
            loops = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.behaviour", str(port), key,
                 str(warm + seconds + 1)], cwd=ROOT,
            )  # fmt: skip
            rate(warm)
            beside.append(rate(seconds))
            loops.wait()
    return statistics.median(beside), statistics.median(alone)


def loop(port: int, key: str, seconds: float) -> None:
    """Asks for each report again and again, all at the same time; prints how many were there.

    One that is put off (503) is asked for again a second later.
    """
    end = time.monotonic() + seconds
    answers: Counter[str] = Counter()

    def again(report: Report) -> None:
        asker = Asker(port, key)
        while time.monotonic() < end:
            try:
                asker.ask(report)
                answers["200"] += 1
            except requests.HTTPError as error:
                answers[str(error.response.status_code)] += 1
                time.sleep(1)

    threads = [threading.Thread(target=again, args=(report,)) for report in REPORTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"reports beside ingest, by status: {dict(answers)}", file=sys.stderr)


if __name__ == "__main__":
    loop(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
