"""Backing up and restoring the embedded default while it is written to."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from ops.backup import sqlite
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
    return max(each for each in into.iterdir() if (each / sqlite.MARK).exists())


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
        back_up(home, into).rename(into / name)
    made = back_up(home, into)
    assert list(into.iterdir()) == [made]
    made.rename(into / "20200103T000000Z")
    home.joinpath("users.db").unlink()
    home.joinpath("analytics.db").unlink()
    assert run("--home", str(home), "--into", str(into)).returncode == 1
    assert [each.name for each in into.iterdir()] == ["20200103T000000Z"]


def test_nothing_is_dropped_that_bears_no_mark_of_a_backup(home: Path, tmp_path: Path) -> None:
    into = tmp_path / "backups"
    elsewhere = back_up(home, tmp_path / "elsewhere").rename(tmp_path / "20200104T000000Z")
    for name in ("20200101T000000Z", "20200102T000000Z.unfinished", "0 photographs", "1999"):
        (into / name).mkdir(parents=True)
        (into / name / "users.db").write_text("mine")
    (into / "20200103T000000Z").symlink_to(elsewhere)
    before = sorted(into.iterdir())
    done = run("--home", str(home), "--into", str(into))
    assert done.returncode == 0, done.stderr
    assert sorted(into.iterdir())[:-1] == before
    assert all((into / each / "users.db").exists() for each in before)
    assert (
        "0 older dropped. Left, since they bear no mark of a backup: "
        "20200101T000000Z, 20200102T000000Z.unfinished, 20200103T000000Z." in done.stdout
    )


def test_what_a_killed_backup_left_goes_with_the_next_one(home: Path, tmp_path: Path) -> None:
    into = tmp_path / "backups"
    left = back_up(home, into)
    left.rename(into / "20200101T000000Z.unfinished")
    made = back_up(home, into)
    assert list(into.iterdir()) == [made]


def test_two_backups_in_one_second_are_two(home: Path, tmp_path: Path) -> None:
    for _ in range(3):
        back_up(home, tmp_path / "backups")
    assert len(list((tmp_path / "backups").iterdir())) == 3


def test_a_second_backup_at_once_is_refused(home: Path, tmp_path: Path) -> None:
    into = tmp_path / "backups"
    into.mkdir()
    descriptor = os.open(into, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    done = run("--home", str(home), "--into", str(into))
    os.close(descriptor)
    assert done.stderr == f"footfall: another backup into {into} is being made\n"
    assert list(into.iterdir()) == []


@pytest.mark.parametrize("age", ["0", "-1", "36501", "9" * 5000, "1.5", "a week"])
def test_an_age_that_is_none_is_refused_before_anything_is_done(
    home: Path, tmp_path: Path, age: str
) -> None:
    done = run("--home", str(home), "--into", str(tmp_path / "backups"), f"--keep-days={age}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(f"{age} is no number of days from 1 to 36500")
    assert not (tmp_path / "backups").exists()


def test_a_place_that_takes_no_backups_is_named(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for into, complaint in (
        (tmp_path / "file", "is no directory"),
        (home / "secrets" / "backups", "is among the secrets"),
    ):
        done = run("--home", str(home), "--into", str(into))
        assert done.returncode == 1
        assert done.stderr.startswith(f"footfall: {into} {complaint}")
    assert (tmp_path / "file").read_text() == "mine"
    assert [each.name for each in (home / "secrets").iterdir()] == ["secret_key"]


def test_a_backup_that_fails_leaves_nothing(home: Path, tmp_path: Path) -> None:
    (home / "analytics.db").write_text("no database at all, but something else of some length")
    done = run("--home", str(home), "--into", str(tmp_path / "backups"))
    assert done.returncode == 1
    assert list((tmp_path / "backups").iterdir()) == []


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


def everything_in(home: Path) -> dict[str, bytes]:
    """Returns the files of the home by path, but for its lock."""
    files = (each for each in home.rglob("*") if each.is_file() and each != home / "lock")
    return {str(each.relative_to(home)): each.read_bytes() for each in files}


def test_what_is_no_backup_is_refused_and_changes_nothing(home: Path, tmp_path: Path) -> None:
    made = back_up(home, tmp_path / "backups")
    damaged = Path(shutil.copytree(made, tmp_path / "damaged"))
    (damaged / "analytics.db").write_bytes(b"SQLite format 3\0" + b"\x17" * 5000)
    unfinished = Path(shutil.copytree(made, tmp_path / "20200101T000000Z.unfinished"))
    copied = Path(shutil.copytree(made, tmp_path / "copied"))
    (copied / "users.db-wal").write_text("")
    (tmp_path / "empty").mkdir()
    before = everything_in(home)
    for backup, complaint in (
        (tmp_path / "empty", "holds no backup"),
        (tmp_path / "missing", "holds no backup"),
        (made / "users.db", "holds no backup"),
        (unfinished, "was never finished"),
        (copied, "is no backup, but files of a database in use"),
        (damaged, ""),
    ):
        done = run("--home", str(home), "--restore", str(backup))
        assert done.returncode == 1
        assert done.stderr.startswith("footfall: ")
        assert complaint in done.stderr
        assert everything_in(home) == before


def test_a_damaged_database_can_be_replaced(home: Path, tmp_path: Path) -> None:
    made = back_up(home, tmp_path / "backups")
    (home / "users.db").write_text("no database at all, but something else of some length")
    assert run("--home", str(home), "--restore", str(made)).returncode == 0
    assert pairs(home / "users.db") == (0, 0)


def test_secrets_stay_where_the_backup_has_none(home: Path, tmp_path: Path) -> None:
    made = back_up(home, tmp_path / "backups")
    shutil.rmtree(made / "secrets")
    assert run("--home", str(home), "--restore", str(made)).returncode == 0
    assert (home / "secrets" / "secret_key").read_text() == "kept"


def test_a_backup_may_be_named_by_a_link_and_be_of_a_release_without_marks(
    home: Path, tmp_path: Path
) -> None:
    made = back_up(home, tmp_path / "backups")
    (made / sqlite.MARK).unlink()
    (tmp_path / "link").symlink_to(made)
    fresh = tmp_path / "fresh"
    assert run("--home", str(fresh), "--restore", str(tmp_path / "link")).returncode == 0
    assert pairs(fresh / "users.db") == (0, 0)
    assert fresh.stat().st_mode & 0o077 == 0
    assert made.exists()


def test_a_restore_is_refused_while_a_start_holds_the_home(home: Path, tmp_path: Path) -> None:
    made = back_up(home, tmp_path / "backups")
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run("--home", str(home), "--restore", str(made))
    assert "is held: stop Footfall first" in done.stderr


STEPS = 10  # how many times a restore of two databases and the secrets renames or removes


class Killed(BaseException):
    """The process is gone at this point, with all clean-up that it would have done."""


@pytest.mark.parametrize("step", range(STEPS + 1))
def test_a_restore_killed_at_any_step_is_completed_by_the_next_start_or_changed_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    with closing(sqlite3.connect(home / "users.db")) as database, database:
        database.execute("INSERT INTO pairs VALUES (1, 1)")
    made = back_up(home, tmp_path / "backups")
    for name in ("users.db", "analytics.db"):
        with closing(sqlite3.connect(home / name)) as database, database:
            database.execute("INSERT INTO pairs VALUES (2, 2)")
    (home / "users.db-wal").write_text("of the old one")
    (home / "secrets" / "secret_key").write_text("another")
    old, steps = everything_in(home), iter(range(STEPS))

    def killed_at_its_step(method: object) -> object:
        def call(*words: object, **named: object) -> object:
            if next(steps, None) == step:
                raise Killed
            return method(*words, **named)  # type: ignore[operator]

        return call

    with monkeypatch.context() as patched:
        for name in ("rename", "unlink", "rmdir"):
            patched.setattr(Path, name, killed_at_its_step(getattr(Path, name)))
        patched.setattr(sqlite.shutil, "rmtree", lambda *_, **__: None)
        patched.setattr(sqlite, "refuse_if_open", lambda _: None)  # it would remove the WAL
        if step < STEPS:
            with pytest.raises(Killed):
                sqlite.restore(made, home)
        else:
            sqlite.restore(made, home)
            assert next(steps, None) is None
    sqlite.complete_restores(home)  # as a start of Footfall does
    if step == 0:
        assert everything_in(home) == old
        return
    assert pairs(home / "users.db") == (1, 0)
    assert pairs(home / "analytics.db") == (0, 0)
    assert (home / "secrets" / "secret_key").read_text() == "kept"
    assert not list(home.glob("restore-*"))
    asides = {path.partition("/")[2]: content for path, content in everything_in(home).items()}
    assert old.items() <= asides.items()


def test_a_start_of_footfall_completes_a_restore(home: Path, tmp_path: Path) -> None:
    ready = home / "restore-20200101T000000Z"
    back_up(home, tmp_path / "backups").rename(ready)
    (ready / "secrets" / "secret_key").write_text("of the backup")
    done = subprocess.run(
        [sys.executable, "-m", "ops.run", "--home", str(home)],
        cwd=ROOT, env={"PATH": os.environ["PATH"], "USERS_PORT": "none"},
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1  # for the port, which is looked at later
    assert (home / "secrets" / "secret_key").read_text() == "of the backup"
    assert not ready.exists()


ENDED_IN_THE_MIDDLE = """
import os, signal, sys
from ops.backup import sqlite

def copy_back(source, target):
    if source.name == "secrets":
        os.kill(os.getpid(), signal.SIGTERM)
    return original(source, target)

original, sqlite.copy_back = sqlite.copy_back, copy_back
sys.exit(sqlite.main())
"""


def test_a_restore_that_is_ended_leaves_the_old_state(home: Path, tmp_path: Path) -> None:
    made = back_up(home, tmp_path / "backups")
    before = everything_in(home)
    done = subprocess.run(
        [sys.executable, "-c", ENDED_IN_THE_MIDDLE, "--home", str(home), "--restore", str(made)],
        cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 128 + signal.SIGTERM
    assert everything_in(home) == before
    assert not list(home.glob("*restore-*"))


def test_what_can_not_be_copied_is_named(home: Path, tmp_path: Path) -> None:
    os.mkfifo(home / "secrets" / "pipe")
    done = run("--home", str(home), "--into", str(tmp_path / "backups"))
    assert done.stderr == f"footfall: `{home}/secrets/pipe` is a named pipe\n"
    assert list((tmp_path / "backups").iterdir()) == []
