"""The benchmarks still run; what they measure is for a quiet machine to say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("workload", ["singles", "batches"])
def test_the_small_edition_measures_ours_and_every_peer(workload: str, tmp_path: Path) -> None:
    for peer in ("asyncpg", "fastapi", "uvicorn"):
        pytest.importorskip(peer, reason="the bench extra is not installed")
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--small", "--json", str(figures), workload]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = json.loads(figures.read_text())
    assert lines
    assert all(line["ours"] > 0 and line["other"] > 0 for line in lines)


def test_a_commit_is_measured_against_another() -> None:
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("there is no git, or no history")
    done = against("HEAD", "--rounds", "2", "--seconds", "0.5", "--connections", "4")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[1].startswith("ratio of 2 rounds: ")
    refused = against("nonsense")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "git can't check nonsense out" in refused.stderr
    trees = subprocess.check_output(["git", "worktree", "list"], cwd=ROOT, text=True)
    assert "prunable" not in trees


def against(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.against", *words]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
