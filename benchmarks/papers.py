"""Puts figures into a document, with the commit of the tree that they were measured in."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.serving import ROOT


def put(document: Path, name: str, figures: str) -> None:
    """Replaces what stands between the marks of this name."""
    begin, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
    before, _, rest = document.read_text().partition(begin)
    _, _, after = rest.partition(end)
    text = f"{figures}\n\nMeasured in the tree of {commit()}."
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def commit() -> str:
    """Returns the tree's commit, and whether it differs from it in more than its documents."""
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)docs")
    return (git("rev-parse", "--short", "HEAD") or "an unknown commit") + ("-dirty" * bool(changed))


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, check=False, capture_output=True, text=True)
    return done.stdout.strip()
