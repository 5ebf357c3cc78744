"""`.ci/run` runs every lane, says what became of each, and fails if one of them did."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.stack import ROOT

MAKE = """#!/bin/sh
echo "$1" >> "$MADE"
[ "$1" != "$FAILING" ] || exit 2
[ "$1" != "$SKIPPING" ] || echo "Skipped: nobody to ask"
"""
LANES = {
    "check": "check",
    "pip-audit": "audit",
    "slow-clients": "proxy-test",
    "fuzz": "fuzz",
    "compose": "containers",
}


@pytest.mark.parametrize(("failing", "skipping"), [("", ""), ("check", "fuzz"), ("fuzz", "check")])
def test_every_lane_runs_and_a_failed_one_fails_the_run(
    tmp_path: Path, failing: str, skipping: str
) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    (tmp_path / "make").write_text(MAKE)
    (tmp_path / "make").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    environment |= {"MADE": str(tmp_path / "made"), "FAILING": failing, "SKIPPING": skipping}
    done = subprocess.run(
        [tmp_path / ".ci" / "run"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == int(bool(failing)), done.stderr
    assert (tmp_path / "made").read_text().split() == list(LANES.values())
    closing = done.stdout.partition("\nLanes:\n")[2].splitlines()
    fates = {words[0]: " ".join(words[3:]) for words in map(str.split, closing)}
    special = {failing: "FAILED", skipping: "skipped: nobody to ask"}
    assert {name: fates[name] for name in LANES} == {
        name: special.get(target, "ran") for name, target in LANES.items()
    }
