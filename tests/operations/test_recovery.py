"""Losing a PostgreSQL server and getting it back, by the scripts of ops/backup."""

from __future__ import annotations

import fcntl
import os
import threading
import time

import psycopg2

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
        kept.server.execute("DROP TABLE t")
        kept.server.execute("SELECT pg_switch_wal()")
        wait_until("the WAL's arrival", kept.received_all)
        kept.lose()
        kept.restored("--to", str(moment))
        assert rows(kept) == list(range(1, 2001))
        kept.server.execute("INSERT INTO t VALUES (9999)")  # it is a primary again
        assert kept.metric("footfall_backup_last_success_timestamp_seconds") > time.time() - 60
        (kept.home / "backups").rename(kept.home / "backups-of-before")
        kept.receive()
        kept.must("base.sh", "full")
        kept.must("drill.sh")


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


def test_the_drill_publishes_success_and_then_the_damage() -> None:
    with Kept() as kept:
        kept.server.execute("CREATE TABLE t (n int PRIMARY KEY)")
        kept.receive()
        insert(kept, 1, 20_000)
        [(path,)] = kept.server.execute("SELECT pg_relation_filepath('t')")
        kept.must("base.sh", "full")
        others, left, running = (
            kept.home / f"drill.{name}" for name in ("photos", "killed", "others")
        )
        for each in (others, left, running):
            each.mkdir()
            (each / "data").write_text("kept")
            if kept.server.as_user:
                os.chown(each, kept.server.as_user, kept.server.as_user)
        (left / ".footfall-drill").touch()
        with (running / ".footfall-drill").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            kept.must("drill.sh")
        assert kept.metric("footfall_restore_drill_success") == 1
        assert sorted(kept.home.glob("drill.*")) == [running, others]
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
        foreign = {
            base / name
            for name in ("20200102T000000Z-photos", "A TripToZ-full", "20200103T000000Z-full")
        }
        for each in foreign:
            each.mkdir()
            (each / "photo").write_text("mine")
        for _ in range(3):
            kept.server.execute("CREATE TABLE IF NOT EXISTS t (n int)")
            insert(kept, 1, 1)
            kept.server.execute("SELECT pg_switch_wal()")
        wait_until("the WAL's arrival", kept.received_all)
        before = {each.name for each in kept.segments()}
        kept.must("base.sh", "full")
        assert foreign < set(base.iterdir())
        assert len(list(base.iterdir())) == len(foreign) + 1
        assert all((each / "photo").read_text() == "mine" for each in foreign)
        assert not (base / "20200101T000000Z-full").exists()
        assert before - {each.name for each in kept.segments()}
        kept.must("drill.sh")
