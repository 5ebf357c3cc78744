"""The programs that these tests run: fetched by ops/tools.py, or the reason to skip."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ops import tools
from ops.fetch import Unavailable, run
from tests.servers import end
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


def alertmanager(folder: Path) -> Path:
    """Returns a program in the folder that runs Alertmanager; skips the test where it can't be.

    Debian's build has a path of /usr/share compiled in for its templates. It gets to see the
    fetched ones there, and nobody else does.
    """
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    there = "/usr/share/prometheus/alertmanager"
    mount = f"mount -t tmpfs none /usr/share && mkdir -p {there} && "
    mount += f'mount --bind "{tools.SHARE}" {there} && exec "$@"'
    binary = program("prometheus-alertmanager")
    try:
        run(*words, mount, "sh", "true")
    except Unavailable as error:
        pytest.skip(f"prometheus-alertmanager can't be shown its templates: {error}")
    path = folder / "alertmanager"
    path.write_text(f'#!/bin/sh\nexec {shlex.join([*words, mount, "sh", str(binary)])} "$@"\n')
    path.chmod(0o755)
    return path


def output(*command: str | Path, cwd: Path = ROOT) -> str:
    """Runs a command that has to succeed and returns what it printed."""
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def running(command: list[Any], log: Path, **given: Any) -> Iterator[None]:
    """Runs a server until the end of the context; what it says goes to the log."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, **given)
    try:
        yield
    finally:
        end(process)
