"""The programs that these tests run: fetched by ops/tools.py, or the reason to skip."""

from __future__ import annotations

import importlib.util
import subprocess
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from tests.stack import ROOT


@cache
def tools() -> ModuleType:
    """Returns ops/tools.py as a module."""
    spec = importlib.util.spec_from_file_location("ops_tools", ROOT / "ops" / "tools.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def program(name: str) -> Path:
    """Returns the program, fetched if need be; skips the test by name where it can't be had."""
    try:
        tools().fetch(name)
    except tools().Unavailable as error:
        pytest.skip(f"{name} can't be had here: {error}")
    found: Path | None = tools().found(name)
    assert found is not None
    return found


def output(*command: str | Path, cwd: Path = ROOT) -> str:
    """Runs a command that has to succeed and returns what it printed."""
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
