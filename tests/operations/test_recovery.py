"""Losing a PostgreSQL server and getting it back, by the scripts of ops/backup."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from tests.operations.backups import Kept
from tests.servers import wait_until


def rows(kept: Kept) -> list[int]:
    return [row[0] for row in kept.server.execute("SELECT n FROM t ORDER BY n")]  # type: ignore[misc]


def insert(kept: Kept, first: int, last: int) -> None:
    kept.server.execute(f"INSERT INTO t SELECT generate_series({first}, {last})")


def test_a_restore_to_a_moment_holds_exactly_the_rows_of_that_moment() -> None:
    with Kept() as kept:
        kept.server.execute(
            "CREATE TABLE t (n int PRIMARY KEY, filler text DEFAULT repeat('x', 500))"
        )
        kept.receive()
        kept.must("base.sh", "full")
        insert(kept, 1, 1000)
        kept.must("base.sh", "incremental")
        time.sleep(1.1)  # the incremental's name is rounded up to the next second
        insert(kept, 1001, 2000)
        [(moment,)] = kept.server.execute("SELECT clock_timestamp()::text")
        insert(kept, 2001, 2500)
        drop_lose_and_restore(kept, str(moment))
        assert rows(kept) == list(range(1, 2001))
        kept.server.execute("INSERT INTO t VALUES (9999)")  # it is a primary again
        assert kept.metric("footfall_backup_last_success_timestamp_seconds") > time.time() - 60


def drop_lose_and_restore(kept: Kept, moment: str) -> None:
    """Drops the table and loses the server, then has that restored to the moment before."""
    kept.server.execute("DROP TABLE t")
    kept.server.execute("SELECT pg_switch_wal()")
    wait_until("the WAL's arrival", kept.received_all)
    kept.lose()
    kept.restored("--to", moment)


@pytest.fixture
def slow_histories(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Has `cp` take a second for a timeline's history: promotion asks for those."""
    with tempfile.TemporaryDirectory() as folder:
        slow = Path(folder) / "cp"
        slow.write_text('#!/bin/sh\ncase "$*" in *.history*) sleep 1 ;; esac\nexec /bin/cp "$@"\n')
        for each in (Path(folder), slow):
            each.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        yield


@pytest.mark.usefixtures("slow_histories")
def test_a_promotion_that_takes_long_is_waited_for() -> None:
    with Kept() as kept:
        kept.server.execute("CREATE TABLE t (n int PRIMARY KEY)")
        kept.receive()
        kept.must("base.sh", "full")
        time.sleep(1.1)  # the backup's name is rounded up to the next second
        insert(kept, 1, 1000)
        [(moment,)] = kept.server.execute("SELECT clock_timestamp()::text")
        drop_lose_and_restore(kept, str(moment))
        assert rows(kept) == list(range(1, 1001))


def test_a_killed_primary_loses_no_commit_that_the_receiver_had_to_confirm() -> None:
    with Kept(synchronous_standby_names="footfall_backup") as kept:
        kept.server.settings["synchronous_commit"] = "on"
        kept.receive()
        kept.server.execute("CREATE TABLE t (n int PRIMARY KEY)")
        kept.must("base.sh", "full")
        acknowledged: list[int] = []
        writer = threading.Thread(target=write_until_cut, args=(kept, acknowledged))
        writer.start()
        wait_until("200 commits", lambda: len(acknowledged) >= 200)
        kept.lose()
        writer.join(20)
        kept.restored("--latest")
        assert set(acknowledged) <= set(rows(kept))


def write_until_cut(kept: Kept, acknowledged: list[int]) -> None:
    connection = kept.connect()
    try:
        with connection.cursor() as cursor:
            for n in range(1_000_000):
                cursor.execute("INSERT INTO t VALUES (%s)", (n,))
                acknowledged.append(n)
    except psycopg2.Error:
        return


def test_a_gap_in_the_wal_fails_loudly_and_leaves_no_half_restored_server() -> None:
    with Kept() as kept:
        kept.server.execute("CREATE TABLE t (n int PRIMARY KEY)")
        kept.receive()
        kept.must("base.sh", "full")
        for n in range(3):
            insert(kept, n, n)
            kept.server.execute("SELECT pg_switch_wal()")
        insert(kept, 10, 10)
        wait_until("the WAL's arrival", kept.received_all)
        kept.segments()[-2].unlink()
        target = kept.home / "restored"
        for words in (("--latest",), ("--to", "2999-01-01 00:00:00+00")):
            done = kept.script("restore.sh", "--into", str(target), *words)
            assert done.returncode != 0
            assert "the WAL has a gap before" in done.stderr
            assert not target.exists()


def test_a_moment_that_was_never_reached_fails_instead_of_stopping_early() -> None:
    with Kept() as kept:
        kept.server.execute("CREATE TABLE t (n int PRIMARY KEY)")
        kept.receive()
        kept.must("base.sh", "full")
        insert(kept, 1, 10)
        wait_until("the WAL's arrival", kept.received_all)
        kept.stop_receiver()
        for moment, complaint in (
            ("2999-01-01 00:00:00+00", "recovery did not reach"),
            ("2001-01-01 00:00:00+00", "no backup is old enough"),
        ):
            target = str(kept.home / f"restored-{moment[:4]}")
            done = kept.script("restore.sh", "--into", target, "--to", moment)
            assert done.returncode != 0
            assert complaint in done.stderr


def test_the_drill_publishes_success_and_then_the_damage() -> None:
    with Kept() as kept:
        kept.server.execute("CREATE TABLE t (n int PRIMARY KEY)")
        kept.receive()
        insert(kept, 1, 20_000)
        [(path,)] = kept.server.execute("SELECT pg_relation_filepath('t')")
        kept.must("base.sh", "full")
        kept.must("drill.sh")
        assert kept.metric("footfall_restore_drill_success") == 1
        [backup] = (kept.home / "backups" / "base").iterdir()
        damaged = backup / str(path)
        damaged.write_bytes(b"\xff" * 4096 + damaged.read_bytes()[4096:])
        assert kept.script("drill.sh").returncode != 0
        assert kept.metric("footfall_restore_drill_success") == 0


def test_backups_past_their_age_go_with_the_wal_that_only_they_needed() -> None:
    with Kept() as kept:
        kept.receive()
        kept.must("base.sh", "full")
        base = kept.home / "backups" / "base"
        [first] = base.iterdir()
        first.rename(base / "20200101T000000Z-full")
        for _ in range(3):
            kept.server.execute("CREATE TABLE IF NOT EXISTS t (n int)")
            insert(kept, 1, 1)
            kept.server.execute("SELECT pg_switch_wal()")
        wait_until("the WAL's arrival", kept.received_all)
        before = {each.name for each in kept.segments()}
        kept.must("base.sh", "full")
        assert [each.name.endswith("-full") for each in base.iterdir()] == [True]
        assert not (base / "20200101T000000Z-full").exists()
        assert before - {each.name for each in kept.segments()}
        kept.must("drill.sh")
