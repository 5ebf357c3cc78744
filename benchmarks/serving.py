"""The servers under test, as real processes: PostgreSQL with fsync on, ours, and peers."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import requests

from tests.servers import PostgresServer, accepts_connections, end, free_port, wait_until

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
TUNED = {"shared_buffers": "1GB", "max_wal_size": "8GB", "work_mem": "32MB"}
WORKERS = "2"


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """Runs a durable PostgreSQL 18 with memory for the job, the same for all."""
    with PostgresServer(TUNED, durable=True) as server:
        yield server


def new_database(
    server: PostgresServer, name: str, *, migrated: bool = True, root: Path = ROOT
) -> str:
    """Makes a database, with our schema if wanted, and returns its URL."""
    server.execute(f"CREATE DATABASE {name}")
    url = server.url(name)
    if migrated:
        subprocess.run(
            [BIN / "alembic", "-n", "analytics", "upgrade", "head"],
            cwd=root, env={**os.environ, "ANALYTICS_DATABASE_URL": url},
            check=True, capture_output=True,
        )  # fmt: skip
    return url


def new_key(url: str, scopes: str = "events:write events:read reports:read") -> str:
    """Puts an API key into our database and returns it."""
    key = "ffk_" + secrets.token_urlsafe(32)
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO api_keys (name, scopes, digest, created_at) VALUES (%s, %s, %s, now())",
            ("benchmark", scopes, hashlib.sha256(key.encode()).hexdigest()),
        )
    connection.close()
    return key


@contextmanager
def footfall(url: str, *, root: Path = ROOT, **settings: str) -> Iterator[int]:
    """Runs our analytics service, or another tree's, under gunicorn; yields its port."""
    given = {
        "ANALYTICS_DATABASE_URL": url,
        "SECRET_KEY": secrets.token_hex(32),
        "API_CALLS_PER_MINUTE": "0",
        "WEB_WORKERS": WORKERS,
        **settings,
    }
    command = [BIN / "gunicorn", "--bind", "127.0.0.1:{port}", "analytics_app:create_app()"]
    with serving(command, given, root) as port:
        yield port


@contextmanager
def peer(module: str, url: str) -> Iterator[int]:
    """Runs a peer under uvicorn; yields its port."""
    command = [BIN / "uvicorn", f"benchmarks.peers.{module}:app", "--port", "{port}",
               "--workers", WORKERS, "--log-level", "warning", "--no-access-log"]  # fmt: skip
    with serving(command, {"DATABASE_URL": url}) as port:
        yield port


@contextmanager
def serving(
    command: list[str | Path], settings: dict[str, str], root: Path = ROOT
) -> Iterator[int]:
    port = free_port()
    words = [str(word).format(port=port) for word in command]
    with open(os.devnull, "wb") as nowhere:
        process = subprocess.Popen(
            words, cwd=root, env={**os.environ, **settings}, stdout=nowhere, stderr=sys.stderr
        )
        try:
            wait_until(f"{words[0]}'s start", lambda: all_workers_answer(port), 120)
            yield port
        finally:
            end(process)


def all_workers_answer(port: int) -> bool:
    """Whether each of forty new connections is answered: a worker that still begins takes none."""
    if not accepts_connections(port):
        return False
    try:
        found = [
            requests.get(f"http://127.0.0.1:{port}/openapi.json", timeout=60) for _ in range(40)
        ]
    except requests.RequestException:
        return False
    # Whoever came first has taken them all; the other has begun by the time they are through.
    time.sleep(1)
    return all(answer.ok for answer in found)


def load(
    port: int, path: str, seconds: float, connections: int, kind: str, token: str
) -> dict[str, float]:
    """Runs the load generator; returns answers a second and the share that was not 2xx."""
    words = [str(word) for word in (port, path, seconds, connections, kind, token)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", *words],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    failed = sum(n for status, n in found["statuses"].items() if not status.startswith("2"))
    return {"rate": (found["answers"] - failed) / found["seconds"], "failed": failed}
