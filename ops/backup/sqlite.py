"""Backs up the embedded default (SQLite files and secrets under var/) while it runs.

    python ops/backup/sqlite.py [--home var] [--into var/backups] [--keep-days 30]
    python ops/backup/sqlite.py --restore var/backups/20261122T140307Z [--home var]

A backup is one directory: both databases, each as of one moment and checked, and the secrets
without which passwords and visitors could no longer be recognised. It is its owner's alone, and
bears a mark; what bears none is never dropped.

A restore is made aside and then put in place. Ended before that, it changes nothing; ended in the
middle of it, the next start of Footfall or the next restore completes it.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

DATABASES = ("users.db", "analytics.db")
SECRETS = "secrets"
STAMP = "%Y%m%dT%H%M%SZ"
BACKUP = re.compile(r"\d{8}T\d{6}Z")
UNFINISHED = re.compile(r"\d{8}T\d{6}Z\.unfinished")
PENDING = re.compile(r"restore-\d{8}T\d{6}Z")
NEVER_READY = re.compile(r"restore-\d{8}T\d{6}Z\.unfinished")
MARK = "footfall-backup.json"  # in each directory that is made, from its beginning on
MAX_KEEP_DAYS = 36_500
ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class BackupError(Exception):
    """The backup or the restore can't be done; the text is one sentence for the operator."""


def main() -> int:
    options = arguments()
    for each in ENDING:
        signal.signal(each, end)
    try:
        if options.restore:
            restore(options.restore, options.home)
            print(f"Restored {options.restore} into {options.home}; start Footfall again.")
        else:
            print(backed_up(options.home, options.into, timedelta(days=options.keep_days)))
    except (BackupError, OSError, sqlite3.Error) as error:
        print(f"footfall: {in_words(error)}", file=sys.stderr)
        return 1
    return 0


def end(number: int, _frame: object) -> NoReturn:
    """Ends by way of the clean-up of what is being made."""
    sys.exit(128 + number)


def in_words(error: Exception) -> str:
    if isinstance(error, shutil.Error):  # one complaint for each file of a folder
        return str(error.args[0][0][2])
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the file'}: {error.strerror}"
    return str(error)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", type=Path, default=Path("var"))
    parser.add_argument("--into", type=Path, default=Path("var/backups"))
    parser.add_argument("--keep-days", type=days, default=30)
    parser.add_argument("--restore", type=Path, metavar="BACKUP")
    return parser.parse_args()


def days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:9]) <= MAX_KEEP_DAYS:
        raise argparse.ArgumentTypeError(f"{text} is no number of days from 1 to {MAX_KEEP_DAYS}")
    return int(text)


def backed_up(home: Path, into: Path, age: timedelta) -> str:
    """Makes one backup and drops what is past the age; returns what was done, in words."""
    found = [name for name in DATABASES if (home / name).is_file()]
    if not found:
        raise BackupError(f"{home} holds no database to back up")
    if pending_restores(home):
        raise BackupError(f"{home} holds a half-made restore: start Footfall, which completes it")
    if into.exists() and not into.is_dir():
        raise BackupError(f"{into} is no directory")
    if into.resolve().is_relative_to((home / SECRETS).resolve()):
        raise BackupError(f"{into} is among the secrets, and each backup would hold the others")
    into.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(into, "another backup into {} is being made"):
        made = back_up(home, into, found)
        dropped, left = drop_old(into, age)
    said = f"Backed up to {made}; {dropped} older dropped."
    if left:
        said += f" Left, since they bear no mark of a backup: {', '.join(left)}."
    return said


@contextmanager
def locked(path: Path, complaint: str) -> Iterator[None]:
    """Keeps the directory or file for this process alone; raises BackupError if it isn't free."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BackupError(complaint.format(path)) from None
    finally:
        os.close(descriptor)


def back_up(home: Path, into: Path, databases: list[str]) -> Path:
    """Makes one complete, checked backup and returns its directory."""
    target = new_path(into, "")
    with in_the_making(target) as half:
        for name in databases:
            copy_database(home / name, half / name)
        if (home / SECRETS).is_dir():
            shutil.copytree(home / SECRETS, half / SECRETS)
    return target


def new_path(folder: Path, prefix: str) -> Path:
    """Returns a path named by the time that nothing bears yet, after a second if need be."""
    while True:
        path = folder / (prefix + datetime.now(UTC).strftime(STAMP))
        if not path.exists():
            return path
        time.sleep(0.1)


@contextmanager
def in_the_making(target: Path) -> Iterator[Path]:
    """Yields a marked directory that is the target once it is complete and on the disk.

    Nothing is left of it if the work in it fails.
    """
    half = target.with_name(target.name + ".unfinished")
    half.mkdir(mode=0o700)
    try:
        (half / MARK).write_text(json.dumps({"format": 1}))
        yield half
        for each in (*half.rglob("*"), half):
            synchronize(each)
        half.rename(target)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    synchronize(target.parent)


def synchronize(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_database(source: Path, target: Path) -> None:
    """Copies a database that others write to, as of one moment; BackupError if it is damaged."""
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        refuse_damaged(copy, source)


def refuse_damaged(database: sqlite3.Connection, source: Path) -> None:
    [outcome] = database.execute("PRAGMA integrity_check").fetchone()
    if outcome != "ok":
        raise BackupError(f"{source} is damaged: {outcome}")


def drop_old(into: Path, age: timedelta) -> tuple[int, list[str]]:
    """Drops backups past the age, but never the newest, and what was left unfinished.

    Only what bears the mark goes. Returns how many backups went, and the names of those past the
    age that are left for want of it: of a release that set none, or somebody else's.
    """
    limit = (datetime.now(UTC) - age).strftime(STAMP)
    ours = sorted(each for each in into.iterdir() if is_marked(each, BACKUP))
    old = [each for each in ours[:-1] if each.name < limit]
    unfinished = [each for each in into.iterdir() if is_marked(each, UNFINISHED)]
    for each in (*old, *unfinished):
        shutil.rmtree(each)
    return len(old), sorted(each.name for each in into.iterdir() if is_unmarked(each, limit))


def is_marked(path: Path, name: re.Pattern[str]) -> bool:
    """Whether the path is a directory that was made here, and no link to one."""
    return bool(name.fullmatch(path.name)) and not path.is_symlink() and (path / MARK).is_file()


def is_unmarked(path: Path, limit: str) -> bool:
    named = BACKUP.fullmatch(path.name) or UNFINISHED.fullmatch(path.name)
    return bool(named) and path.name < limit and not is_marked(path, BACKUP)


def restore(backup: Path, home: Path) -> None:
    """Puts a backup in place of what is there, which is kept aside; Footfall must be stopped."""
    found = contents(backup)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    (home / "lock").touch()
    with locked(home / "lock", "{} is held: stop Footfall first"):
        complete_restores(home)
        for name in found:
            refuse_if_open(home / name)
        with in_the_making(new_path(home, "restore-")) as half:
            for name in found:
                copy_back(backup / name, half / name)
        complete_restores(home)


def contents(backup: Path) -> list[str]:
    """Returns what the backup holds; raises BackupError if it is none."""
    databases = [name for name in DATABASES if (backup / name).is_file()]
    if not databases:
        raise BackupError(f"{backup} holds no backup")
    if UNFINISHED.fullmatch(backup.resolve().name):
        raise BackupError(f"{backup} was never finished")
    for name in databases:
        if (backup / f"{name}-wal").exists() or (backup / f"{name}-journal").exists():
            raise BackupError(f"{backup} is no backup, but files of a database in use")
    return [*databases, SECRETS] if (backup / SECRETS).is_dir() else databases


def copy_back(source: Path, target: Path) -> None:
    """Copies a database or the secrets out of a backup; BackupError if a database is damaged."""
    if source.is_dir():
        shutil.copytree(source, target)
        return
    shutil.copyfile(source, target)
    target.chmod(0o600)
    with closing(sqlite3.connect(target)) as copy:
        refuse_damaged(copy, source)


def pending_restores(home: Path) -> list[Path]:
    """Returns the restores that were decided on, and are not in place or not tidied up yet."""
    named = (each for each in home.iterdir() if PENDING.fullmatch(each.name))
    return sorted(each for each in named if is_marked(each, PENDING) or is_empty(each))


def is_empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def complete_restores(home: Path) -> None:
    """Puts in place what a restore has made ready, and drops what one was killed over making.

    It may have been ended at any point, and is taken up there: what is still among what was made
    ready is not in place. The caller holds the home's lock.
    """
    for half in [each for each in home.iterdir() if is_marked(each, NEVER_READY)]:
        shutil.rmtree(half)
    for ready in pending_restores(home):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            put_in_place(ready, home)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def put_in_place(ready: Path, home: Path) -> None:
    aside = new_path(home, "before-restore-")
    aside.mkdir(mode=0o700)
    for name in (*DATABASES, SECRETS):
        if not (ready / name).exists():
            continue
        for each in (name, *(f"{name}-{kind}" for kind in ("wal", "shm", "journal"))):
            if (home / each).exists() or (home / each).is_symlink():
                (home / each).rename(aside / each)
        (ready / name).rename(home / name)
    synchronize(home)
    (ready / MARK).unlink(missing_ok=True)
    ready.rmdir()
    if is_empty(aside):
        aside.rmdir()


def refuse_if_open(database: Path) -> None:
    if not database.is_file():
        return
    with closing(sqlite3.connect(database, timeout=0)) as connection:
        try:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise BackupError(f"{database} is in use: stop Footfall first") from None
            # It is damaged, and about to be replaced.


if __name__ == "__main__":
    sys.exit(main())
