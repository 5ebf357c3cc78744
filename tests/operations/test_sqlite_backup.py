"""Backing up and restoring the embedded default while it is written to."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.servers import wait_until
from tests.stack import ROOT


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "ops" / "backup" / "sqlite.py"), *words],
        check=False, capture_output=True, text=True,
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "var"
    (home / "secrets").mkdir(parents=True)
    (home / "secrets" / "secret_key").write_text("kept")
    for name in ("users.db", "analytics.db"):
        with closing(sqlite3.connect(home / name)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("CREATE TABLE pairs (left_n INTEGER, right_n INTEGER)")
    return home


def back_up(home: Path, into: Path, *words: str) -> Path:
    done = run("--home", str(home), "--into", str(into), *words)
    assert done.returncode == 0, done.stderr
    return max(into.iterdir())


def pairs(path: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(path)) as database:
        [found] = database.execute(
            "SELECT count(*), coalesce(sum(left_n <> right_n), 0) FROM pairs"
        )
    return found


def test_a_backup_under_writes_is_whole_as_of_one_moment(home: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        with closing(sqlite3.connect(home / "users.db", isolation_level=None)) as database:
            while not stop.is_set():
                database.execute("BEGIN IMMEDIATE")
                database.execute("INSERT INTO pairs VALUES (?, 0)", (len(written),))
                database.execute("UPDATE pairs SET right_n = left_n WHERE right_n = 0")
                database.execute("COMMIT")
                written.append(1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until("some writes", lambda: len(written) > 20)
        least = len(written)
        made = back_up(home, tmp_path / "backups")
    finally:
        stop.set()
        writer.join()
    count, halves = pairs(made / "users.db")
    assert least <= count <= len(written)
    assert halves == 0
    assert (made / "secrets" / "secret_key").read_text() == "kept"
    assert made.stat().st_mode & 0o077 == 0


def test_a_restore_brings_the_backup_back_and_keeps_what_it_replaced(
    home: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(home / "users.db")) as database, database:
        database.execute("INSERT INTO pairs VALUES (1, 1)")
    made = back_up(home, tmp_path / "backups")
    with closing(sqlite3.connect(home / "users.db")) as database, database:
        database.execute("INSERT INTO pairs VALUES (2, 2)")
    (home / "secrets" / "secret_key").write_text("another")
    done = run("--home", str(home), "--restore", str(made))
    assert done.returncode == 0, done.stderr
    assert pairs(home / "users.db") == (1, 0)
    assert (home / "secrets" / "secret_key").read_text() == "kept"
    [aside] = home.glob("before-restore-*")
    assert pairs(aside / "users.db") == (2, 0)


def test_a_restore_is_refused_while_footfall_runs(home: Path, tmp_path: Path) -> None:
    made = back_up(home, tmp_path / "backups")
    with closing(sqlite3.connect(home / "analytics.db")) as open_one:
        open_one.execute("SELECT count(*) FROM pairs").fetchone()
        done = run("--home", str(home), "--restore", str(made))
    assert done.returncode == 1
    assert "is in use: stop Footfall first" in done.stderr
    assert not list(home.glob("before-restore-*"))


def test_old_backups_go_and_the_newest_never_does(home: Path, tmp_path: Path) -> None:
    into = tmp_path / "backups"
    for name in ("20200101T000000Z", "20200102T000000Z"):
        (into / name).mkdir(parents=True)
    made = back_up(home, into)
    assert list(into.iterdir()) == [made]
    made.rename(into / "20200103T000000Z")
    home.joinpath("users.db").unlink()
    home.joinpath("analytics.db").unlink()
    assert run("--home", str(home), "--into", str(into)).returncode == 1
    assert [each.name for each in into.iterdir()] == ["20200103T000000Z"]


def test_a_damaged_database_is_not_taken_for_a_backup(home: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(home / "users.db")) as database, database:
        database.execute("CREATE INDEX by_left ON pairs (left_n)")
        database.executemany("INSERT INTO pairs VALUES (?, 1)", [(n,) for n in range(5000)])
    path = home / "users.db"
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 3 + 2000] = b"\x17" * 2000
    path.write_bytes(content)
    done = run("--home", str(home), "--into", str(tmp_path / "backups"))
    assert done.returncode == 1
    assert done.stderr.startswith("footfall: ")
