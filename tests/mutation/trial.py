"""The tests of one module on one mutant of it, in a process forked for that.

The source stays as it is: the fork imports the mutant in its place. Tests that start
processes of their own would run without it there, so those prove nothing here.
"""

from __future__ import annotations

import builtins
import gc
import json
import os
import resource
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from itertools import groupby
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from tests.mutation.mutants import MARK, marked

ROOT = Path(__file__).parents[2]
OURS = ("chassis", "users_app", "analytics_app", "dashboard_app", "tests")
PASSED = 0
# One engine: what only PostgreSQL shows has its tests, which take too long to run so often.
QUICKLY = ("-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--assert=plain")
OPTIONS = (*QUICKLY, "-k", "not postgresql")


@dataclass(frozen=True, slots=True)
class Reached:
    """What the unchanged source showed: the tests that reach each function.

    File by file as they are listed, the quickest first.
    """

    tests: list[str]
    by_function: dict[str, list[str]]
    seconds: int

    def of(self, where: str) -> list[str]:
        """Returns the tests to run; all of them for what runs on import."""
        return self.by_function.get(where, self.tests)


class Watch:
    """Notes which tests reach which functions of a marked source, and how long each takes."""

    def __init__(self) -> None:
        self.test = ""
        self.calls: dict[str, set[str]] = defaultdict(set)
        self.took: dict[str, float] = defaultdict(float)

    def reach(self, where: str) -> None:
        self.calls[where].add(self.test)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.test = nodeid

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.took[report.nodeid] += report.duration

    def reached(self) -> dict[str, Any]:
        files = [file_of(batch[0]) for batch in by_file(list(self.took))]
        tests = sorted(self.took, key=lambda test: (files.index(file_of(test)), self.took[test]))
        # What is called on import may change any test, whichever it was that imported it.
        called = {name: by for name, by in self.calls.items() if "" not in by}
        within = {name: [each for each in tests if each in by] for name, by in called.items()}
        return {"tests": tests, "by_function": {name: by for name, by in within.items() if by}}


class Choice:
    """Runs these tests alone, in this order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.places = {test: place for place, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        wanted = [each for each in items if each.nodeid in self.places]
        items[:] = sorted(wanted, key=lambda each: self.places[each.nodeid])


class MutantLoader(SourceFileLoader):
    """Loads a module from another source than its file's."""

    source = ""

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.source, self.path, "exec", dont_inherit=True)


class MutantFinder(MetaPathFinder):
    """Finds one module's mutant."""

    def __init__(self, file: str, source: str) -> None:
        self.file = ROOT / file
        self.name = file.removesuffix(".py").replace("/", ".")
        self.source = source

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        loader = MutantLoader(fullname, str(self.file))
        loader.source = self.source
        return spec_from_file_location(fullname, self.file, loader=loader)


def watched(file: str, tests: Sequence[str]) -> Reached | None:
    """Runs the tests on the unchanged source; None if they fail.

    Imports here what they needed of others, so that no fork does it again.
    """
    reading, writing = os.pipe()
    forked(lambda: send_what_they_reach(file, tests, writing))
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = json.loads(pipe.read() or "{}")
    os.wait()
    if told.get("status") != PASSED:
        return None
    for name in told["libraries"]:
        import_module(name)
    gc.freeze()  # else each fork's first collection touches, and so copies, all of that
    return Reached(**told["reached"], seconds=told["seconds"])


def send_what_they_reach(file: str, tests: Sequence[str], pipe: int) -> int:
    known, watch = set(sys.modules), Watch()
    setattr(builtins, MARK, watch.reach)
    sys.meta_path.insert(0, MutantFinder(file, marked((ROOT / file).read_text())))
    status = int(pytest.main([*OPTIONS, *tests], plugins=[watch]))
    told = {
        "status": status,
        "seconds": 3 * int(time.process_time()) + 10,
        "reached": watch.reached(),
        "libraries": [name for name in sys.modules if name not in known and is_library(name)],
    }
    with os.fdopen(pipe, "w") as out:
        json.dump(told, out)
    return status


def is_library(name: str) -> bool:
    module = sys.modules[name]
    return name.partition(".")[0] not in OURS and getattr(module, "__spec__", None) is not None


def passes(file: str, source: str, tests: Sequence[str], seconds: int) -> bool:
    """Whether all these tests pass on this source, those of each file within so many seconds.

    File by file: most mutants die in the first, and need not import the others for that.
    """
    return all(batch_passes(file, source, batch, seconds) for batch in by_file(tests))


def batch_passes(file: str, source: str, tests: list[str], seconds: int) -> bool:
    child = forked(lambda: run_tests(file, source, tests, seconds))
    return waited(child, patience=3 * seconds) == PASSED


def by_file(tests: Sequence[str]) -> list[list[str]]:
    return [list(batch) for _, batch in groupby(tests, file_of)]


def file_of(test: str) -> str:
    return test.partition("::")[0]


def run_tests(file: str, source: str, tests: Sequence[str], seconds: int) -> int:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    sys.meta_path.insert(0, MutantFinder(file, source))
    return int(pytest.main([*OPTIONS, file_of(tests[0])], plugins=[Choice(tests)]))


def forked(work: Callable[[], int]) -> int:
    """Starts the work in a process and a process group of its own; returns its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setsid()
        silence()
        status = work()
    finally:
        os._exit(status)


def silence() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


def waited(child: int, *, patience: float) -> int:
    """Returns the child's exit code, negative for a signal; ends what it left running."""
    ends = time.monotonic() + patience
    while not (found := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < ends:
        time.sleep(0.02)
    end_group(child)
    return os.waitstatus_to_exitcode(found[1] if found[0] else os.waitpid(child, 0)[1])


def end_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return
