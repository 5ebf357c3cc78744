"""A PostgreSQL server with its backup directory, for the tests of ops/backup."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg2

from tests.servers import PostgresServer, end, memory, wait_until
from tests.stack import ROOT

SETTINGS = {
    "wal_level": "replica",
    "summarize_wal": "on",
    "max_slot_wal_keep_size": "1GB",
    "synchronous_commit": "on",
}


class Kept:
    """A server whose WAL is received and whose base backups are taken by our own scripts."""

    def __init__(self, **settings: str) -> None:
        self.server = PostgresServer(SETTINGS | settings, durable=True, folder=memory())
        self.home = self.server.home
        self.metrics = self.home / "metrics"
        self.receiver: subprocess.Popen[bytes] | None = None
        for name in ("ops", "metrics"):
            (self.home / name).mkdir(mode=0o755)
        shutil.copytree(ROOT / "ops" / "backup", self.home / "ops", dirs_exist_ok=True)
        for path in (self.home / "ops", self.metrics):
            if self.server.as_user:
                os.chown(path, self.server.as_user, self.server.as_user)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.server.programs}:{os.environ['PATH']}",
            "BACKUP_DIR": str(self.home / "backups"),
            "METRICS_DIR": str(self.metrics),
            "DATABASE": "trial",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.server.port),
            "PGUSER": "postgres",
            "SCRATCH_DIR": str(self.home),
            "PAUSE_SECONDS": "1",
        }

    def as_unprivileged(self) -> dict[str, Any]:
        """Returns how a process of the backups is started."""
        user = self.server.as_user
        return {"env": self.environment, "cwd": self.home, "user": user, "group": user}

    def script(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs one of the scripts to its end, as the user that PostgreSQL runs as."""
        return subprocess.run(
            ["bash", str(self.home / "ops" / name), *words],
            **self.as_unprivileged(),
            check=False, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def must(self, name: str, *words: str) -> str:
        """Runs a script that has to succeed; returns what it logged."""
        done = self.script(name, *words)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def receive(self) -> None:
        """Starts the receiver and returns when the server streams to it."""
        self.receiver = subprocess.Popen(
            ["bash", str(self.home / "ops" / "receive.sh")],
            **self.as_unprivileged(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until("the receiver's start", self.is_streaming)

    def is_streaming(self) -> bool:
        query = (
            "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'footfall_backup'"
        )
        return self.server.execute(query) == [(1,)]

    def received_all(self) -> bool:
        """Whether everything that is written so far has reached the receiver's disk."""
        query = (
            "SELECT flush_lsn >= pg_current_wal_lsn() FROM pg_stat_replication "
            "WHERE application_name = 'footfall_backup'"
        )
        return self.server.execute(query) == [(True,)]

    def lose(self) -> None:
        """Destroys the server and all its data; the backups stay."""
        self.server.kill()
        shutil.rmtree(self.server.data)

    def restored(self, *words: str) -> None:
        """Restores in place of what was lost and starts it."""
        self.stop_receiver()
        self.must("restore.sh", "--into", str(self.server.data), *words)
        self.server.settings = {"fsync": "off"}
        self.server.start()

    def metric(self, name: str) -> float:
        """Returns what the scripts published under that name."""
        for path in self.metrics.glob("*.prom"):
            for line in path.read_text().splitlines():
                if line.startswith(f'{name}{{database="trial"}} '):
                    return float(line.split()[-1])
        raise AssertionError(f"{name} was not published")

    def segments(self) -> list[Path]:
        """Returns the received WAL, oldest first."""
        return sorted((self.home / "backups" / "wal").glob("????????????????????????*"))

    def connect(self) -> psycopg2.extensions.connection:
        connection = psycopg2.connect(self.server.url())
        connection.autocommit = True
        return connection

    def stop_receiver(self) -> None:
        if self.receiver:
            end(self.receiver, signal.SIGINT)

    def __enter__(self) -> Kept:
        self.server.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop_receiver()
        self.server.__exit__(None, None, None)
