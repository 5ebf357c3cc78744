"""`python -m tests.mutation [MODULE …]`: which changes to the source no test notices.

Fails if one lives that the table doesn't list as equivalent.
"""

from __future__ import annotations

import os
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from tests.mutation.mutants import mutants_of
from tests.mutation.trial import ROOT, passes, watched

TABLE = Path(__file__).with_name("modules.toml")


@dataclass(frozen=True, slots=True)
class Subject:
    """A module, the tests that are to notice its mutants, and those that nothing can notice.

    Of some modules only a part matters: the mutants with `only` in their names.
    """

    file: str
    tests: tuple[str, ...]
    equivalent: dict[str, str] = field(default_factory=dict)
    only: str = ""


@dataclass
class Tally:
    """What became of the mutants."""

    killed: int = 0
    equivalent: int = 0
    alive: int = 0

    def __str__(self) -> str:
        of_all = self.killed + self.equivalent + self.alive
        return (
            f"{of_all} mutants, {self.killed} killed, {self.equivalent} equivalent (listed), "
            f"{self.alive} alive"
        )


def subjects(files: list[str]) -> list[Subject]:
    """Returns those of the table, or all of it."""
    table = tomllib.loads(TABLE.read_text())
    if unknown := set(files) - set(table):
        sys.exit(f"mutants: not in {TABLE.name}: {', '.join(sorted(unknown))}")
    return [
        Subject(file, tuple(row["tests"]), row.get("equivalent", {}), row.get("only", ""))
        for file, row in table.items()
        if not files or file in files
    ]


def tried(subject: Subject) -> Tally:
    """Runs the subject's tests on each of its mutants."""
    source = (ROOT / subject.file).read_text()
    reached = watched(subject.file, subject.tests)
    if reached is None:
        sys.exit(f"mutants: fail without any change: {' '.join(subject.tests)}")
    tally, gone = Tally(), set(subject.equivalent)
    mutants = [each for each in mutants_of(source) if subject.only in each.name]
    for number, mutant in enumerate(mutants, 1):
        show_progress(number, len(mutants))
        gone.discard(mutant.name)
        if mutant.name in subject.equivalent:
            tally.equivalent += 1
        elif passes(subject.file, mutant.source, reached.of(mutant.where), reached.seconds):
            tally.alive += 1
            print(f"  alive  {mutant.name}", flush=True)
        else:
            tally.killed += 1
    for name in sorted(gone):
        print(f"  listed as equivalent, and no longer made: {name}")
    return tally


def show_progress(number: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"  {number} of {of}", end="\r", file=sys.stderr, flush=True)


def main(files: list[str]) -> int:
    os.chdir(ROOT)
    whole = Tally()
    for subject in subjects(files):
        print(subject.file, flush=True)
        tally = tried(subject)
        print(f"  {tally}", flush=True)
        whole.killed += tally.killed
        whole.equivalent += tally.equivalent
        whole.alive += tally.alive
    print(whole)
    return 1 if whole.alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
