"""A sign of life is left where it is safe to, and what prevents it harms nobody."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from chassis.heartbeat import Heartbeat
from chassis.telemetry import configure_logging


@pytest.fixture(autouse=True)
def usual_log_level() -> None:
    """Has warnings logged, whatever the apps of other tests are set to."""
    configure_logging("test", "INFO")


def test_a_beat_sets_the_files_time_and_makes_the_folder_its_owners_alone(tmp_path: Path) -> None:
    heart = Heartbeat("relay", tmp_path / "run" / "signs")
    heart.beat()
    file = tmp_path / "run" / "signs" / "relay"
    os.utime(file, (1, 1))
    heart.beat()
    assert time.time() - file.stat().st_mtime < 60
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Heartbeat("relay", None).beat()
    assert list(tmp_path.iterdir()) == []


def a_link(path: Path) -> None:
    path.symlink_to(path.parent / "victim")


def a_link_to_a_file(path: Path) -> None:
    (path.parent / "victim").write_text("")
    os.utime(path.parent / "victim", (1, 1))
    path.symlink_to(path.parent / "victim")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, a_link, a_link_to_a_file])
def test_what_others_put_there_is_not_touched_and_told_once(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "relay")
    heart = Heartbeat("relay", tmp_path)
    with capture_logs() as lines:
        for _ in range(3):
            heart.beat()
    assert [each["log_level"] for each in lines] == ["warning"]
    victim = tmp_path / "victim"
    assert not victim.exists() or victim.stat().st_mtime == 1


@pytest.mark.parametrize("folder", ["/proc/nowhere", "/dev/null/below"])
def test_a_folder_that_can_not_be_made_ends_nothing(folder: str) -> None:
    with capture_logs() as lines:
        Heartbeat("relay", Path(folder)).beat()
    assert len(lines) == 1
