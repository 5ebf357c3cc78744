"""The programs that these tests run: fetched by ops/tools.py, or the reason to skip."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ops import tools
from ops.fetch import Unavailable
from tests.stack import ROOT


def program(name: str) -> Path:
    """Returns the program, fetched if need be; skips the test by name where it can't be had."""
    try:
        tools.fetch(name)
    except Unavailable as error:
        pytest.skip(f"{name} can't be had here: {error}")
    found = tools.found(name)
    assert found is not None
    return found


def output(*command: str | Path, cwd: Path = ROOT) -> str:
    """Runs a command that has to succeed and returns what it printed."""
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
