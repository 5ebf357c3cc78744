"""Restores to moments between known commits, each held against the rows of its moment.

    python -m tests.operations.restores [--count 100] [--workers 2] [--seed N]

Each restored server is started twice: what it replays at a second start counts as well. Half of
the promotions are stalled once the signal file has gone.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from tests.operations.backups import Kept
from tests.servers import PostgresServer, free_port, wait_until

COMMITS = 60
FIRST_HISTORY = "00000001.history"


@dataclass(frozen=True)
class Moment:
    """A time between two commits, and the last row that was committed before it."""

    at: datetime
    last: int

    def written(self, form: int) -> str:
        """Returns the moment in one of the forms that restore.sh takes."""
        elsewhere = self.at.astimezone(timezone(timedelta(hours=5, minutes=30)))
        forms = (
            self.at.isoformat().replace("+00:00", "Z"),
            self.at.isoformat().replace("+00:00", "z").replace("T", "t"),
            elsewhere.isoformat(),
            self.at.isoformat(sep=" ").removesuffix(":00"),
        )
        return forms[form % len(forms)]


def history(kept: Kept, commits: int, first: int = 1) -> list[Moment]:
    """Commits one row after the other; returns the moments between them, but for the newest."""
    connection = kept.connect()
    moments = []
    with connection.cursor() as cursor:
        for n in range(first, first + commits):
            cursor.execute("INSERT INTO t VALUES (%s)", (n,))
            cursor.execute("SELECT clock_timestamp()")
            [at] = cursor.fetchone() or ()
            moments.append(Moment(at.astimezone(UTC), n))
    connection.close()
    return moments[:-1]


@contextmanager
def kept_history(commits: int = COMMITS) -> Iterator[tuple[Kept, list[Moment]]]:
    """Yields a server that is backed up, fully and then in part, and moments of its past."""
    with Kept() as kept:
        kept.server.execute("CREATE TABLE t (n int PRIMARY KEY)")
        kept.receive()
        kept.must("base.sh", "full")
        time.sleep(1.1)  # a backup's name is rounded up to the next second
        moments = history(kept, commits // 2)
        kept.must("base.sh", "incremental")
        time.sleep(1.1)
        moments += history(kept, commits - commits // 2, commits // 2 + 1)
        wait_until("the WAL's arrival", kept.received_all)
        yield kept, moments


class Restore:
    """One run of restore.sh, from `start` to the end of the context."""

    def __init__(self, kept: Kept, into: Path, *words: str) -> None:
        self.kept, self.into, self.words = kept, into, words
        self.scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=kept.home))
        self.programs = Path(tempfile.mkdtemp(prefix="programs-", dir=kept.home))
        for each in (self.scratch, self.programs):
            each.chmod(0o777)
        self.process: subprocess.Popen[str] | None = None

    def replace(self, program: str, lines: str) -> None:
        """Has the scripts find a shell script in place of a program, called `$original` in it."""
        original = shutil.which(program, path=self.kept.environment["PATH"])
        script = self.programs / program
        script.write_text(f"#!/bin/sh\noriginal={original} here={self.programs}\n{lines}\n")
        script.chmod(0o755)

    def hold(self, name: str) -> None:
        """Has recovery wait for the file of that name in the WAL until `let_go` is called."""
        wait = 'touch "$here/held"; while [ ! -e "$here/go" ]; do sleep 0.05; done'
        self.replace("cp", f'case "$*" in *{name}*) {wait} ;; esac; exec "$original" "$@"')

    def is_held(self) -> bool:
        return (self.programs / "held").exists()

    def let_go(self) -> None:
        (self.programs / "go").touch()

    def start(self) -> None:
        how = self.kept.as_unprivileged()
        how["env"] |= {"PATH": f"{self.programs}:{how['env']['PATH']}", "TMPDIR": str(self.scratch)}
        script = str(self.kept.home / "ops" / "restore.sh")
        # A signal that whoever started the tests ignores couldn't be caught in the script.
        words = ["env", "--default-signal=HUP,INT,TERM", "bash", script, "--into", str(self.into)]
        self.process = subprocess.Popen(
            [*words, *self.words], **how, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def ended(self) -> tuple[int, str]:
        """Waits for the script's end; returns its exit status and what it said."""
        assert self.process is not None
        said = self.process.communicate(timeout=120)[1]
        return self.process.returncode, said

    def held(self) -> subprocess.Popen[str]:
        """Starts; returns the script once its recovery waits for `let_go`."""
        self.hold("00000001")
        self.start()
        wait_until("the recovery", self.is_held)
        assert self.process is not None
        return self.process

    def remove(self) -> None:
        """Removes what was restored, and what this run used."""
        for each in (self.into, self.scratch, self.programs):
            shutil.rmtree(each)

    def processes(self) -> dict[int, str]:
        """Returns the processes of the server that recovers, by id, as they call themselves."""
        return {
            int(each.name): (each / "cmdline").read_text().replace("\0", " ").strip()
            for each in Path("/proc").glob("[0-9]*")
            if works_in(each, self.into)
        }

    def is_recovering(self) -> bool:
        """Whether the process that replays the WAL is there."""
        return any("startup" in title for title in self.processes().values())

    @contextmanager
    def stalled_promotion(self) -> Iterator[None]:
        """Starts; yields when the signal file has gone and promotion can't be completed.

        Promotion then asks for the history of the timeline that it leaves.
        """
        (self.kept.home / "backups" / "wal" / FIRST_HISTORY).touch()
        self.hold(FIRST_HISTORY)
        self.start()
        wait_until("the promotion", self.is_held)
        assert not (self.into / "recovery.signal").exists()
        try:
            yield
        finally:
            self.let_go()


def works_in(process: Path, folder: Path) -> bool:
    try:
        return Path(os.readlink(process / "cwd")).is_relative_to(folder)
    except OSError:  # it has ended
        return False


def server_of(kept: Kept, data: Path) -> PostgresServer:
    """Returns a server, not started yet, on a data directory that was restored."""
    server = PostgresServer.__new__(PostgresServer)
    server.__dict__ |= kept.server.__dict__
    server.home = server.data = data
    server.port, server.process, server.settings = free_port(), None, {"fsync": "off"}
    return server


def rows_at_two_starts(kept: Kept, data: Path) -> list[list[int]]:
    """Returns the rows that a restored directory holds when it is started, and started again."""
    server = server_of(kept, data)
    seen = []
    for _ in range(2):
        server.start()
        seen.append([n for [n] in server.execute("SELECT n FROM t ORDER BY n")])
        server.stop()
    return seen  # type: ignore[return-value]


def is_exact(kept: Kept, moment: Moment, form: int, *, stalled: bool) -> bool:
    """Restores to the moment; whether exactly its rows are there, at both starts."""
    into = kept.home / f"restored-{form}"
    restore = Restore(kept, into, "--to", moment.written(form))
    if stalled:
        with restore.stalled_promotion():
            time.sleep(0.5)  # so long it stalls
    else:
        restore.start()
    status, said = restore.ended()
    if status:
        print(said, file=sys.stderr)
        return False
    try:
        return rows_at_two_starts(kept, into) == [list(range(1, moment.last + 1))] * 2
    finally:
        restore.remove()


def how_many_are_exact(count: int, workers: int, seed: int) -> int:
    """Restores to that many moments, chosen by the seed; returns how many were exact."""
    with kept_history() as (kept, moments), ThreadPoolExecutor(workers) as pool:
        chosen = random.Random(seed).choices(moments, k=count)
        return sum(
            pool.map(
                lambda number: is_exact(kept, chosen[number], number, stalled=number % 2 == 1),
                range(count),
            )
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    options = parser.parse_args()
    began = time.monotonic()
    exact = how_many_are_exact(options.count, options.workers, options.seed)
    took = time.monotonic() - began
    print(f"{exact} of {options.count} restores exact, {took:.0f} s, seed {options.seed}.")
    return 0 if exact == options.count else 1


if __name__ == "__main__":
    sys.exit(main())
