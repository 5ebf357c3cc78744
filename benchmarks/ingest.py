"""Single events and batches, ours and the peers', each on an empty database of its own."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2

from benchmarks.dataset import prepare_partitions
from benchmarks.load import batches
from benchmarks.peers import copy_stream
from benchmarks.serving import ROOT, footfall, load, new_database, new_key, peer
from tests.servers import PostgresServer

SINGLE = "/analytics/events"
BATCH = "/analytics/events/batch"
THREADS = "16"

Running = Callable[[PostgresServer, str], Iterator[tuple[int, str]]]


@contextmanager
def ours(server: PostgresServer, name: str, root: Path = ROOT) -> Iterator[tuple[int, str]]:
    """Runs our service, or another tree's; yields its port and a key."""
    url = new_database(server, name, root=root)
    prepare_partitions(url, root)
    key = new_key(url)
    with footfall(url, root=root, WEB_THREADS=THREADS) as port:
        yield port, key


@contextmanager
def plain_orm(server: PostgresServer, name: str) -> Iterator[tuple[int, str]]:
    """Runs FastAPI + SQLAlchemy ORM + psycopg2: a plain insert."""
    with peer("plain_orm", plain_database(server, name)) as port:
        yield port, "none"


@contextmanager
def asyncpg_plain(server: PostgresServer, name: str) -> Iterator[tuple[int, str]]:
    """Runs FastAPI + asyncpg: a plain insert."""
    with peer("asyncpg_plain", plain_database(server, name)) as port:
        yield port, "none"


@contextmanager
def asyncpg_same(server: PostgresServer, name: str) -> Iterator[tuple[int, str]]:
    """Runs FastAPI + asyncpg: the same work as ours."""
    url = new_database(server, name)
    prepare_partitions(url)
    with peer("asyncpg_same", url) as port:
        yield port, "none"


def plain_database(server: PostgresServer, name: str) -> str:
    url = new_database(server, name, migrated=False)
    code = "from benchmarks.peers.plain_orm import Base, engine; Base.metadata.create_all(engine)"
    subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "DATABASE_URL": url}, check=True
    )
    return url


SUBJECTS = {
    "Footfall": ours,
    "FastAPI + SQLAlchemy + psycopg2, plain insert": plain_orm,
    "FastAPI + asyncpg, the same work": asyncpg_same,
    "FastAPI + asyncpg, plain insert": asyncpg_plain,
}


def singles(
    server: PostgresServer, seconds: float, rounds: int, connections: int
) -> dict[str, float]:
    """Returns the median rate of single events of each; rounds alternate between them."""
    rates: dict[str, list[float]] = {name: [] for name in SUBJECTS}
    for number in range(rounds):
        for place, (name, running) in enumerate(SUBJECTS.items()):
            with running(server, f"single_{number}_{place}") as (port, key):
                load(port, SINGLE, min(2.0, seconds), connections, "single", key)
                found = load(port, SINGLE, seconds, connections, "single", key)
                rates[name].append(found["rate"])
    return {name: statistics.median(found) for name, found in rates.items()}


def batch_rates(
    server: PostgresServer, count: int, rounds: int, seconds: float
) -> dict[str, float]:
    """Returns the median rate of events, by batches of 1,000 and by one COPY stream.

    Each batch's events are of the last so many seconds.
    """
    rates: dict[str, list[float]] = {"Footfall": [], "COPY": []}
    for number in range(rounds):
        name = f"{int(seconds)}_{number}"
        with ours(server, f"batch_{name}") as (port, key):
            rates["Footfall"].append(batches_sent(port, key, count, seconds))
        rates["COPY"].append(copied(server, f"copy_{name}", count, seconds))
    return {name: statistics.median(found) for name, found in rates.items()}


def batches_sent(port: int, key: str, count: int, seconds: float) -> float:
    """Returns the rate at which prepared batches of 1,000 are taken over eight connections."""
    done = load(port, BATCH, 3_600, 8, f"{count}:{seconds}", key)
    return done["rate"] * 1_000


def copied(server: PostgresServer, name: str, count: int, age: float) -> float:
    """Returns the rate of one COPY stream of such rows into a table with the same indexes."""
    connection = psycopg2.connect(plain_database(server, name))
    text = copy_stream.text_of(batches_of_events(count, age))
    begun = time.perf_counter()
    copy_stream.copy(connection, text)
    seconds = time.perf_counter() - begun
    connection.close()
    return count * 1_000 / seconds


def batches_of_events(count: int, seconds: float) -> Iterator[bytes]:
    made = batches(random.Random(1), seconds=seconds)
    return (next(made) for _ in range(count))
