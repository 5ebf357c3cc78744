"""The lane itself: it makes the changes that matter, and tells noticed ones from others."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.mutation.mutants import marked, mutants_of
from tests.mutation.trial import ROOT, Reached, Watch

GUARDED = '''\
@hook(strict=True)
def check(names: list[str] = []) -> bool:
    """Says something."""
    if not names:
        raise Refused("Name somebody, at least one.")
    renew(names)
    return min(len(names), LIMIT) > 3
'''


def changes(source: str) -> list[str]:
    return [mutant.name for mutant in mutants_of(source)]


@pytest.mark.parametrize(
    "change",
    [
        "check.decorator: @hook(strict=True) -> @hook(strict=False)",
        "check: if not names: -> if False:",
        'check: raise Refused("Name somebody, at least one.") -> pass',
        "check: renew(names) -> pass",
        "check: return min(len(names), LIMIT) > 3 -> return min(len(names), ) > 3",
        "check: return min(len(names), LIMIT) > 3 -> return min(len(names), LIMIT) >= 3",
    ],
)
def test_guards_bounds_and_hooks_are_changed_inside_decorated_functions_too(change: str) -> None:
    assert change in changes(GUARDED)


def test_what_is_said_and_what_is_typed_is_left_alone() -> None:
    source = '"""Words."""\nimport os\n\nValue: dict[str, int]\nraise Refused("Two words.")\n'
    assert changes(source) == ['module: raise Refused("Two words.") -> pass']


def test_the_same_change_on_two_lines_has_two_names() -> None:
    source = "def each() -> None:\n    tell()\n    tell()\n"
    assert changes(source) == ["each: tell() -> pass", "each: tell() -> pass #2"]


def test_every_mutant_is_another_source_that_compiles() -> None:
    source = (ROOT / "chassis/auth.py").read_text()
    for mutant in mutants_of(source):
        assert mutant.source != source
        compile(mutant.source, mutant.name, "exec")


def test_a_function_says_that_it_is_reached_by_the_name_its_mutants_have() -> None:
    reached: list[str] = []
    space = {"__reach__": reached.append}
    exec(marked("class A:\n    def b(self):\n        'says'\n        return 1\n"), space)
    space["A"]().b()  # type: ignore[operator]
    assert reached == ["A.b"]
    assert space["A"].b.__doc__ == "says"  # type: ignore[attr-defined]


def test_what_runs_on_import_is_reached_by_every_test() -> None:
    watch = Watch()
    watch.reach("declare")
    for number, test in enumerate(("a.py::one", "a.py::two")):
        watch.pytest_runtest_logstart(test)
        watch.reach("declare" if number else "own")
        watch.took[test] = 1.0
    found = Reached(**watch.reached(), seconds=1)
    assert found.of("declare") == ["a.py::one", "a.py::two"]
    assert found.of("own") == ["a.py::one"]


def test_one_that_changes_nothing_lives_and_one_that_a_test_wants_otherwise_dies() -> None:
    code = (
        "from tests.mutation.trial import ROOT, passes, watched\n"
        "file, test = 'users_app/clock.py', 'tests/mutation/test_lane.py::test_now_is_in_utc'\n"
        "source = (ROOT / file).read_text()\n"
        "reached = watched(file, [test])\n"
        "for each in (source, source.replace('now(UTC)', 'now()')):\n"
        "    print(passes(file, each, reached.of('now'), reached.seconds))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout.split() == ["True", "False"], ran.stderr


def test_now_is_in_utc() -> None:
    from users_app import clock

    assert clock.now().tzname() == "UTC"
