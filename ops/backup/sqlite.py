"""Backs up the embedded default (SQLite files and secrets under var/) while it runs.

    python ops/backup/sqlite.py [--home var] [--into var/backups] [--keep-days 30]
    python ops/backup/sqlite.py --restore var/backups/20261122T140307Z [--home var]

A backup is one directory: both databases, each as of one moment and checked, and the secrets
without which passwords and visitors could no longer be recognised. It is its owner's alone.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

DATABASES = ("users.db", "analytics.db")
STAMP = "%Y%m%dT%H%M%SZ"


class BackupError(Exception):
    """The backup or the restore can't be done; the text is one sentence for the operator."""


def main() -> int:
    options = arguments()
    try:
        if options.restore:
            restore(options.restore, options.home)
            print(f"Restored {options.restore} into {options.home}; start Footfall again.")
            return 0
        made = back_up(options.home, options.into)
        dropped = drop_old(options.into, timedelta(days=options.keep_days))
    except (BackupError, OSError, sqlite3.Error) as error:
        print(f"footfall: {error}", file=sys.stderr)
        return 1
    print(f"Backed up to {made}; {dropped} older dropped.")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", type=Path, default=Path("var"))
    parser.add_argument("--into", type=Path, default=Path("var/backups"))
    parser.add_argument("--keep-days", type=int, default=30)
    parser.add_argument("--restore", type=Path, metavar="BACKUP")
    return parser.parse_args()


def back_up(home: Path, into: Path) -> Path:
    """Makes one complete, checked backup and returns its directory."""
    found = [name for name in DATABASES if (home / name).is_file()]
    if not found:
        raise BackupError(f"{home} holds no database to back up")
    into.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = into / datetime.now(UTC).strftime(STAMP)
    half = target.with_suffix(".unfinished")
    half.mkdir(mode=0o700)
    for name in found:
        copy_database(home / name, half / name)
    if (home / "secrets").is_dir():
        shutil.copytree(home / "secrets", half / "secrets")
    half.rename(target)
    return target


def copy_database(source: Path, target: Path) -> None:
    """Copies a database that others write to, as of one moment; BackupError if it is damaged."""
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        [outcome] = copy.execute("PRAGMA integrity_check").fetchone()
    if outcome != "ok":
        raise BackupError(f"{source} is damaged: {outcome}")


def drop_old(into: Path, age: timedelta) -> int:
    """Drops the backups past the age, but never the newest; returns how many went."""
    limit = (datetime.now(UTC) - age).strftime(STAMP)
    complete = sorted(each for each in into.iterdir() if each.suffix == "")
    old = [each for each in complete[:-1] if each.name < limit]
    for each in old:
        shutil.rmtree(each)
    return len(old)


def restore(backup: Path, home: Path) -> None:
    """Puts a backup in place of what is there, which is kept aside; Footfall must be stopped."""
    found = [name for name in DATABASES if (backup / name).is_file()]
    if not found:
        raise BackupError(f"{backup} holds no backup")
    for name in found:
        refuse_if_open(home / name)
    aside = home / f"before-restore-{datetime.now(UTC).strftime(STAMP)}"
    aside.mkdir(mode=0o700, parents=True)
    for name in (*found, "secrets"):
        for each in (home / name, home / f"{name}-wal", home / f"{name}-shm"):
            if each.exists():
                each.rename(aside / each.name)
    for name in found:
        shutil.copy2(backup / name, home / name)
    if (backup / "secrets").is_dir():
        shutil.copytree(backup / "secrets", home / "secrets")


def refuse_if_open(database: Path) -> None:
    if not database.exists():
        return
    with closing(sqlite3.connect(database, timeout=0)) as connection:
        try:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            raise BackupError(f"{database} is in use: stop Footfall first") from None


if __name__ == "__main__":
    sys.exit(main())
