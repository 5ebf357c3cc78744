"""What removes something removes what it made, and leaves alone what lies where it looks."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import ROOT


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Returns somebody's folder, with a file and a folder in it."""
    folder = tmp_path / "mine"
    (folder / "photographs").mkdir(parents=True)
    (folder / "photographs" / "1.jpg").write_text("kept")
    (folder / "letter.db").write_text("kept")
    return folder


def is_whole(folder: Path) -> bool:
    files = (folder / "photographs" / "1.jpg", folder / "letter.db")
    return all(each.read_text() == "kept" for each in files)


def test_gunicorn_empties_no_folder_but_of_its_metrics(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [mine / name for name in ("counter_12.db", "gauge_livesum_7.db", "histogram_ended.part")]
    for each in old:
        each.touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(mine))
    monkeypatch.delenv("FOOTFALL_METRICS_OWNER", raising=False)
    with monkeypatch.context() as patched:
        patched.chdir(ROOT)
        runpy.run_path("gunicorn.conf.py")
    monkeypatch.delenv("FOOTFALL_METRICS_OWNER")
    assert is_whole(mine)
    assert not any(each.exists() for each in old)


def make(folder: Path, target: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "Makefile", folder)
    command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", target]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)


def test_an_environment_behind_a_link_is_not_cleared(mine: Path, tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(mine)
    done = make(tmp_path, ".venv/made")
    assert done.returncode != 0
    assert "footfall: .venv is a link to an environment that can't be used" in done.stderr
    assert is_whole(mine)
    assert make(tmp_path, "clean").returncode == 0
    assert is_whole(mine)
    assert not (tmp_path / ".venv").is_symlink()


def test_the_bare_system_is_made_in_no_folder_of_somebodys(mine: Path) -> None:
    done = subprocess.run(
        [ROOT / "tests" / "bare" / "run.sh", "--fresh", "trixie", "true"],
        env={**os.environ, "BARE_DIR": str(mine)}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"{mine} holds something else: nothing is removed there.\n"
    assert is_whole(mine)


class Replica:
    """ops/postgres/replica.sh with stand-ins for PostgreSQL's programs."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.data = folder, data
        self.programs = folder / "programs"
        self.programs.mkdir()
        (folder / "password").write_text("unused")
        self.program("psql", "exit 0")
        self.program("postgres", "exit 0")

    def program(self, name: str, lines: str) -> None:
        (self.programs / name).write_text(f"#!/bin/bash\n{lines}\n")
        (self.programs / name).chmod(0o755)

    def copies(self, version: str, status: int) -> None:
        self.program(
            "pg_basebackup",
            f'mkdir "${{1#*=}}"; echo {version} > "${{1#*=}}/PG_VERSION"; exit {status}',
        )

    def run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", ROOT / "ops" / "postgres" / "replica.sh"],
            env={"PATH": f"{self.programs}:{os.environ['PATH']}", "PGDATA": str(self.data),
                 "PRIMARY_HOST": "nowhere", "REPLICATION_PASSWORD_FILE": f"{self.folder}/password"},
            check=False, capture_output=True, text=True,
        )  # fmt: skip


def test_a_replica_is_copied_into_no_folder_of_somebodys(mine: Path, tmp_path: Path) -> None:
    replica = Replica(tmp_path, mine)
    replica.copies("18", 0)
    done = replica.run()
    assert done.returncode == 1
    assert f"{mine} is no data directory, and not empty" in done.stderr
    assert is_whole(mine)
    replica.data = tmp_path / "data"
    mine.rename(tmp_path / "data.copy")
    assert "was not made by this script" in replica.run().stderr
    assert is_whole(tmp_path / "data.copy")


def test_a_replica_whose_copy_was_interrupted_is_copied_again(tmp_path: Path) -> None:
    """Half a copy looks like a data directory, and would start as a server of its own."""
    replica = Replica(tmp_path, tmp_path / "18" / "docker")
    replica.copies("half", 1)
    assert replica.run().returncode == 1
    assert not replica.data.exists()
    replica.copies("whole", 0)
    assert replica.run().returncode == 0
    assert (replica.data / "PG_VERSION").read_text() == "whole\n"
    assert [each.name for each in replica.data.parent.iterdir()] == ["docker"]
    replica.copies("again", 0)
    assert replica.run().returncode == 0
    assert (replica.data / "PG_VERSION").read_text() == "whole\n"
