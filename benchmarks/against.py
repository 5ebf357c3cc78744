"""Single events of this tree against another commit's: python -m benchmarks.against COMMIT.

Both services run at once, each on a database of its own, and are loaded in turn for a moment
each: a machine that is faster for a while is so for both. `--seconds`, `--rounds` and
`--connections` say for how long, how often and how many at a time.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.ingest import SINGLE, ours
from benchmarks.serving import ROOT, load, postgres


@contextmanager
def tree_of(commit: str) -> Iterator[Path]:
    """Checks the commit out beside this tree for a while."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "tree"
        if git("worktree", "add", "--quiet", "--detach", str(root), commit):
            sys.exit(f"benchmarks: git can't check {commit} out here")
        try:
            yield root
        finally:
            git("worktree", "remove", "--force", str(root))


def git(*words: str) -> int:
    return subprocess.run(["git", *words], cwd=ROOT, check=False).returncode


def rates(root: Path, seconds: float, rounds: int, connections: int) -> list[tuple[float, float]]:
    """Returns events a second, here and there, of each round; who begins takes turns."""
    with postgres() as server, ExitStack() as stack:
        here = stack.enter_context(ours(server, "here"))
        there = stack.enter_context(ours(server, "there", root))
        found = []
        for number in range(-1, rounds):  # the first one warms both up
            order = [here, there] if number % 2 else [there, here]
            by_port = {
                port: load(port, SINGLE, seconds, connections, "single", key)["rate"]
                for port, key in order
            }
            found.append((by_port[here[0]], by_port[there[0]]))
        return found[1:]


def main() -> None:
    """Prints both medians, and the median and quartiles of the rounds' ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=30, help="at least two")
    parser.add_argument("--connections", type=int, default=32)
    given = parser.parse_args()
    if given.rounds < 2:
        parser.error("--rounds must be at least two")
    with tree_of(given.commit) as root:
        found = rates(root, given.seconds, given.rounds, given.connections)
    here, there = (statistics.median(each) for each in zip(*found, strict=True))
    low, middle, high = statistics.quantiles((ours / theirs for ours, theirs in found), n=4)
    print(f"this tree {here:,.0f} events/s, {given.commit} {there:,.0f}")
    print(f"ratio of {len(found)} rounds: {middle:.2f} (quartiles {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
