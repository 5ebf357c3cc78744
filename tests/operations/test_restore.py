"""Restores by ops/backup/restore.sh: exact, or an error that leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.backups import Kept
from tests.operations.restores import (
    Moment,
    Restore,
    how_many_are_exact,
    kept_history,
    rows_at_two_starts,
)
from tests.servers import wait_until
from tests.stack import ROOT

Past = tuple[Kept, list[Moment]]


@pytest.fixture(scope="module")
def past() -> Iterator[Past]:
    """Yields a server that no test here changes, with its backups and moments of its past."""
    with kept_history(20) as (kept, moments):
        kept.server.execute("SELECT pg_switch_wal()")
        kept.server.execute("INSERT INTO t VALUES (1000)")
        kept.server.execute("SELECT pg_switch_wal()")
        kept.server.execute("INSERT INTO t SELECT generate_series(2000, 5000)")
        wait_until("the WAL's arrival", kept.received_all)
        kept.stop_receiver()
        yield kept, moments


@pytest.fixture(params=["missing", "empty"])
def target(request: pytest.FixtureRequest, past: Past) -> Iterator[Path]:
    """Yields a directory to restore into; it must be afterwards as it is now."""
    kept, _ = past
    folder = kept.home / "restored"
    if request.param == "empty":
        folder.mkdir(mode=0o750)
        if kept.server.as_user:
            os.chown(folder, kept.server.as_user, kept.server.as_user)
    before = shape(kept.home)
    yield folder
    assert shape(kept.home) == before
    if request.param == "empty":
        folder.rmdir()


def shape(home: Path) -> dict[Path, int]:
    """Returns what lies in the home and its backups, each with its mode."""
    backups = home / "backups"
    places = (home, backups, backups / "base", backups / "wal", *home.glob("restored"))
    return {each: each.stat().st_mode for place in places for each in place.iterdir()}


def must_fail(restore: Restore) -> str:
    """Waits for an error that leaves no process and nothing temporary; returns what was said."""
    status, said = restore.ended()
    assert status != 0
    assert restore.processes() == {}
    assert list(restore.scratch.iterdir()) == []
    for each in (restore.scratch, restore.programs):
        shutil.rmtree(each)
    return said


def fails(kept: Kept, target: Path, *words: str, **programs: str) -> str:
    restore = Restore(kept, target, *words)
    for name, lines in programs.items():
        restore.replace(name, lines)
    restore.start()
    return must_fail(restore)


def test_a_restore_waits_for_a_promotion_that_stalls_and_is_exact(past: Past) -> None:
    kept, moments = past
    moment = moments[3]
    restore = Restore(kept, kept.home / "restored", "--to", moment.written(0))
    with restore.stalled_promotion():
        state = subprocess.run(
            [kept.server.programs / "pg_controldata", "-D", restore.into],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        assert "in archive recovery" in state
        assert restore.process is not None
        with pytest.raises(subprocess.TimeoutExpired):
            restore.process.wait(1)
    assert restore.ended()[0] == 0
    assert list(restore.scratch.iterdir()) == []
    assert rows_at_two_starts(kept, restore.into) == [list(range(1, moment.last + 1))] * 2
    restore.remove()


WAITS_FOR_THE_CONTROL_FILE = """ && [ "$(control 'Database cluster state')" = "in production" ]"""
ENDS_AS_ITS_OWN = "    if ! { ["


@pytest.fixture
def recovery_script(past: Past) -> Iterator[Path]:
    """Yields the script of the recovery, for planting faults; it is put back afterwards."""
    script = past[0].home / "ops" / "recovery.sh"
    content = script.read_text()
    yield script
    script.write_text(content)


def plant(script: Path, correct: str, wrong: str) -> None:
    assert script.read_text().count(correct) == 1
    script.write_text(script.read_text().replace(correct, wrong))


def stop_in_the_middle_of_promotion(restore: Restore) -> None:
    """Has a script that looks at the signal file alone stop its server too early."""
    with restore.stalled_promotion():
        wait_until("the server's stop", lambda: not restore.is_recovering())


def test_a_server_stopped_before_its_promotion_was_complete_is_an_error(
    past: Past, target: Path, recovery_script: Path
) -> None:
    kept, moments = past
    plant(recovery_script, WAITS_FOR_THE_CONTROL_FILE, "")
    restore = Restore(kept, target, "--to", moments[3].written(0))
    stop_in_the_middle_of_promotion(restore)
    assert "did not end as a server of its own" in must_fail(restore)


def test_without_either_check_a_stalled_promotion_restores_what_came_after_the_moment(
    past: Past, recovery_script: Path
) -> None:
    kept, moments = past
    plant(recovery_script, WAITS_FOR_THE_CONTROL_FILE, "")
    plant(recovery_script, ENDS_AS_ITS_OWN, "    if false && ! { [")
    restore = Restore(kept, kept.home / "restored", "--to", moments[3].written(0))
    stop_in_the_middle_of_promotion(restore)
    assert restore.ended()[0] == 0
    assert len(rows_at_two_starts(kept, restore.into)[0]) > moments[3].last
    restore.remove()


def test_no_failure_leaves_anything_behind(past: Past, target: Path) -> None:
    kept, moments = past
    known = ("--to", moments[3].written(0))
    newest = kept.segments()[-1].name.removesuffix(".partial")
    full = "echo cp: no space left on device >&2; exit 1"
    for words, programs, complaint in (
        (("--to", "2001-01-01T00:00:00Z"), {}, "no backup is old enough for 2001-01-01 00:00:00"),
        (("--to", after_all(kept)), {}, "recovery did not reach"),
        (("--to", "2999-01-01T00:00:00Z"), {}, "is in the future"),
        (known, {"pg_combinebackup": "exit 1"}, "the backups of the chain don't combine"),
        (known, {"postgres": "exit 1"}, "recovery did not reach"),
        (known, {"pg_controldata": "exit 1"}, "gave up"),
        (("--latest",), {"cp": full}, "recovery did not reach its end"),
        (("--latest",), {"cp": f'case "$*" in *{newest}*) {full} ;; esac; exec "$original" "$@"'},
         "recovery did not reach its end"),
    ):  # fmt: skip
        assert complaint in fails(kept, target, *words, **programs)  # type: ignore[arg-type]


def after_all(kept: Kept) -> str:
    [(now,)] = kept.server.execute("SELECT clock_timestamp()::text")
    return str(now)


def test_the_last_lines_of_the_servers_log_are_shown(past: Past, target: Path) -> None:
    kept, _ = past
    said = fails(kept, target, "--to", after_all(kept))
    assert "FATAL:  recovery ended before configured recovery target was reached" in said


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(past: Past, target: Path, how: signal.Signals) -> None:
    kept, moments = past
    restore = Restore(kept, target, "--to", moments[3].written(0))
    process = restore.held()
    process.send_signal(how)
    assert "gave up: nothing of the restore is left" in must_fail(restore)
    assert process.returncode == 128 + how


def test_a_signal_while_backups_are_combined_leaves_nothing_behind(
    past: Past, target: Path
) -> None:
    kept, _ = past
    restore = Restore(kept, target, "--latest")
    restore.replace("pg_combinebackup", '"$original" "$@"; touch "$here/done"; sleep 600')
    restore.start()
    wait_until("the files", (restore.programs / "done").exists)
    assert restore.process is not None
    restore.process.terminate()
    must_fail(restore)


def test_a_signal_during_promotion_leaves_nothing_behind(past: Past, target: Path) -> None:
    kept, moments = past
    restore = Restore(kept, target, "--to", moments[3].written(0))
    with restore.stalled_promotion():
        assert restore.process is not None
        restore.process.terminate()
        wait_until("the server's stop", lambda: not restore.is_recovering())
    must_fail(restore)


def test_what_stands_in_the_target_stays(past: Past) -> None:
    kept, _ = past
    target = kept.home / "restored"
    target.mkdir()
    (target / "mine").write_text("kept")
    (kept.home / "restored.log").write_text("kept")
    assert "is not empty" in fails(kept, target, "--latest")
    assert "File exists" in fails(kept, target / "mine", "--latest")
    assert "No such file or directory" in fails(kept, target / "missing" / "data", "--latest")
    assert (target / "mine").read_text() == (kept.home / "restored.log").read_text() == "kept"
    assert [each.name for each in target.iterdir()] == ["mine"]
    (kept.home / "restored.log").unlink()
    shutil.rmtree(target)


def test_two_restores_into_one_directory_are_one_and_an_error(past: Past) -> None:
    kept, moments = past
    target = kept.home / "restored"
    first = Restore(kept, target, "--to", moments[3].written(0))
    first.held()
    second = Restore(kept, target, "--latest")
    second.start()
    status, said = second.ended()
    assert status != 0
    assert "another restore works in" in said
    first.let_go()
    assert first.ended()[0] == 0
    assert rows_at_two_starts(kept, target)[0][-1] == moments[3].last
    for each in (target, first.scratch, first.programs, second.scratch, second.programs):
        shutil.rmtree(each)


def test_wal_that_ends_at_damage_is_not_all_there_is(past: Past, target: Path) -> None:
    """Recovery takes the first record it can't read for the end, and would be content."""
    kept, _ = past
    damaged = kept.segments()[-3]
    content = damaged.read_bytes()
    damaged.write_bytes(b"\0" * len(content))
    try:
        said = fails(kept, target, "--latest")
    finally:
        damaged.write_bytes(content)
    assert "recovery ended in" in said
    assert f"and the WAL goes on to {kept.segments()[-1].stem}" in said


def test_damage_in_the_last_segment_is_told_from_its_end(past: Past, target: Path) -> None:
    kept, _ = past
    damaged = kept.segments()[-1]
    content = damaged.read_bytes()
    damaged.write_bytes(content[:40_000] + b"\x17" * 100 + content[40_100:])
    try:
        said = fails(kept, target, "--latest")
    finally:
        damaged.write_bytes(content)
    assert "the WAL is damaged at 0/" in said


def test_the_latest_state_is_all_there_is(past: Past) -> None:
    kept, _ = past
    restore = Restore(kept, kept.home / "restored", "--latest")
    restore.start()
    assert restore.ended()[0] == 0
    first, second = rows_at_two_starts(kept, restore.into)
    assert first == second == [n for [n] in kept.server.execute("SELECT n FROM t ORDER BY n")]
    restore.remove()


def test_nobody_who_listens_is_no_reason_to_leave_anything_behind(past: Past, target: Path) -> None:
    kept, moments = past
    restore = Restore(kept, target, "--to", moments[3].written(0))
    process = restore.held()
    assert process.stderr is not None
    process.stderr.close()
    process.terminate()
    assert process.wait(60) != 0
    assert restore.processes() == {}
    assert list(restore.scratch.iterdir()) == []
    for each in (restore.scratch, restore.programs):
        shutil.rmtree(each)


def test_a_gap_behind_the_moment_is_no_hindrance_and_one_before_it_is_named(
    past: Past, target: Path
) -> None:
    kept, moments = past
    missing = kept.segments()[-2]
    away = kept.home / "backups" / missing.name
    [(late,)] = kept.server.execute("SELECT now()::text")
    missing.rename(away)
    gap = f"the WAL has a gap before {kept.segments()[-1].stem}"
    try:
        assert gap in fails(kept, target, "--latest")
        assert gap in fails(kept, target, "--to", str(late))
        restore = Restore(kept, kept.home / "restored-before", "--to", moments[3].written(0))
        restore.start()
        assert restore.ended()[0] == 0
    finally:
        away.rename(missing)
    restore.remove()


def test_a_place_without_backups_is_named_and_left_as_it_is(past: Past) -> None:
    kept, _ = past
    elsewhere = kept.home / "elsewhere"
    script = str(kept.home / "ops" / "restore.sh")
    how = kept.as_unprivileged()
    how["env"] |= {"BACKUP_DIR": str(elsewhere)}
    done = subprocess.run(
        ["bash", script, "--into", str(kept.home / "restored"), "--latest"],
        **how, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"{elsewhere} holds no backups" in done.stderr
    assert not elsewhere.exists()
    assert not (kept.home / "restored").exists()


MOMENTS = {
    "2026-11-22T14:03:07Z": "2026-11-22 14:03:07+00",
    "2026-11-22t14:03:07z": "2026-11-22 14:03:07+00",
    "2026-11-22 14:03:07Z": "2026-11-22 14:03:07+00",
    "2026-11-22T14:03:07.5Z": "2026-11-22 14:03:07.5+00",
    "2026-11-22T14:03:07.123456789Z": "2026-11-22 14:03:07.123456+00",
    "2026-11-22T14:03:07+05:30": "2026-11-22 08:33:07+00",
    "2026-11-22T14:03:07-09:30": "2026-11-22 23:33:07+00",
    "2026-11-22T14:03:07-00:00": "2026-11-22 14:03:07+00",
    "2026-01-01T00:00:00+14:00": "2025-12-31 10:00:00+00",
    "2016-12-31T23:59:60Z": "2017-01-01 00:00:00+00",
    "2024-02-29T12:00:00Z": "2024-02-29 12:00:00+00",
    "2026-11-22 14:03:07+00": "2026-11-22 14:03:07+00",
    "2026-11-22 14:03:07.123456+05:30": "2026-11-22 08:33:07.123456+00",
    "2026-11-22 14:03:07-0330": "2026-11-22 17:33:07+00",
}
NO_MOMENTS = {
    "2026-11-22T14:03:07": "has no offset from UTC",
    "2026-11-22 14:03:07.123456": "has no offset from UTC",
    "2999-01-01T00:00:00Z": "is in the future",
    "2026-02-30T10:00:00Z": "is no moment",
    "2026-11-22T24:00:00Z": "is no moment",
    "2026-11-22T14:03:61Z": "is no moment",
    "2026-11-22T14:03:07+24:00": "is no moment",
    "2026-11-22T14:03:07+05:75": "is no moment",
    "2026-11-22T14:03Z": "is no moment",
    "2026-11-22Z": "is no moment",
    "2026-11-22T14:03:07Z; touch x": "is no moment",
    "yesterday": "is no moment",
    "now": "is no moment",
}


def in_utc(moment: str) -> subprocess.CompletedProcess[str]:
    folder = ROOT / "ops" / "backup"
    lines = f'. {folder}/lib.sh; . {folder}/recovery.sh; complete=yes; moment_in_utc "$1"'
    return subprocess.run(
        ["bash", "-c", lines, "bash", moment],
        env={"PATH": os.environ["PATH"], "BACKUP_DIR": "/nowhere"},
        check=False, capture_output=True, text=True,
    )  # fmt: skip


def test_moments_are_taken_in_every_form_of_rfc_3339_and_in_postgresqls() -> None:
    assert {each: in_utc(each).stdout.strip() for each in MOMENTS} == MOMENTS


@pytest.mark.parametrize("moment", NO_MOMENTS)
def test_a_moment_that_is_none_is_refused_with_the_form_that_is_wanted(moment: str) -> None:
    done = in_utc(moment)
    assert done.returncode != 0
    [sentence] = done.stderr.splitlines()
    assert f"{moment} {NO_MOMENTS[moment]}" in sentence
    assert "write it as 2026-11-22T14:03:07Z or 2026-11-22T19:33:07+05:30" in sentence


def test_each_restore_is_exact() -> None:
    """The small edition of `make restores`."""
    assert how_many_are_exact(count=4, workers=2, seed=1) == 4
