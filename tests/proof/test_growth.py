"""No pattern over a stranger's bytes costs more than in proportion to their length.

All patterns of the four packages are collected by themselves, a new one too. Each repetition
in a pattern is fed what it repeats, many times over, and then something that doesn't match:
that is where backtracking doubles with each character, or squares.
"""

from __future__ import annotations

import ast
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack import ROOT

PACKAGES = ("chassis", "users_app", "analytics_app", "dashboard_app")
# Read nothing but what the operator or the database wrote.
OWN = {
    "users_app/keys.py": "the operator's PEM",
    "users_app/key_file.py": "the operator's key file",
    "users_app/config.py": "the operator's settings",
    "analytics_app/dialects/partitions.py": "PostgreSQL's catalogue",
    "chassis/openapi.py": "our own routes",
}
SUPPOSED_TEXT = (ast.Constant, ast.Name, ast.JoinedStr, ast.BinOp)
CALLS = {"compile", "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}
NAMES = {"pattern", "regex"}  # Pydantic's constraints, Werkzeug's converters
MAX_LENGTH = 64 * 1024
TRIES = 12
Text = str | bytes


def collected() -> dict[str, Text]:
    """Returns each pattern in the packages' source, by where it stands."""
    found: dict[str, Text] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if name not in OWN:
                found |= {f"{name}:{line}": text for line, text in patterns_in(path)}
    return found


def patterns_in(path: Path) -> Iterator[tuple[int, Text]]:
    """Yields line and text of each pattern; raises for one that is not written out."""
    for node in ast.walk(ast.parse(path.read_text())):
        for given in pattern_nodes(node):
            if not (isinstance(given, ast.Constant) and isinstance(given.value, str | bytes)):
                raise ValueError(f"{path}:{given.lineno}: write the pattern out, to have it tested")
            yield given.lineno, given.value


def pattern_nodes(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        named = any(isinstance(each, ast.Name) and each.id in NAMES for each in node.targets)
        return [node.value] if named and isinstance(node.value, SUPPOSED_TEXT) else []
    if not isinstance(node, ast.Call):
        return []
    by_name = [each.value for each in node.keywords if each.arg in NAMES]
    of_re = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "re"
    by_call = [node.args[0]] if of_re and getattr(node.func, "attr", "") in CALLS else []
    return by_call + [each for each in by_name if isinstance(each, SUPPOSED_TEXT)]


class Sampler:
    """Makes texts that parts of a pattern match, by chance."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def of(self, parts: Any) -> str:
        return "".join(self.part(str(kind), given) for kind, given in parts)

    def part(self, kind: str, given: Any) -> str:
        if kind == "LITERAL":
            return chr(given)
        if kind in ("ANY", "NOT_LITERAL"):
            return "z"
        if kind == "IN":
            return self.one_of(given)
        if kind == "SUBPATTERN":
            return self.of(given[-1])
        if kind == "ATOMIC_GROUP":
            return self.of(given)
        if kind == "BRANCH":
            return self.of(self.chance.choice(given[1]))
        if kind.endswith("REPEAT"):
            low, high, body = given
            times = self.chance.randint(low, min(int(high), low + 2))
            return "".join(self.of(body) for _ in range(times))
        return ""

    def one_of(self, members: Any) -> str:
        if str(members[0][0]) == "NEGATE":
            return "z"
        kind, given = self.chance.choice(members)
        if str(kind) == "RANGE":
            return chr(self.chance.randint(*given))
        if str(kind) == "LITERAL":
            return chr(given)
        return {"CATEGORY_DIGIT": "0", "CATEGORY_SPACE": " "}.get(str(given), "a")


def repetitions(parts: Any, before: Any = ()) -> Iterator[tuple[list[Any], Any]]:
    """Yields what stands before each repetition of a pattern, and what is repeated."""
    passed = list(before)
    for kind, given in parts:
        if str(kind).endswith("REPEAT"):
            yield passed, given[2]
        for inner in inside(str(kind), given):
            yield from repetitions(inner, passed)
        passed = [*passed, (kind, given)]


def inside(kind: str, given: Any) -> list[Any]:
    if kind.endswith("REPEAT"):
        return [given[2]]
    if kind == "SUBPATTERN":
        return [given[-1]]
    if kind == "BRANCH":
        return list(given[1])
    return [given] if kind == "ATOMIC_GROUP" else []


def attacks(pattern: Text) -> Iterator[tuple[str, str]]:
    """Yields beginnings and what to repeat after them; pure repetitions of a word as well."""
    parsed = re._parser.parse(pattern)  # type: ignore[attr-defined]
    for seed in range(TRIES):
        sampler = Sampler(seed)
        for before, body in repetitions(parsed):
            if pump := sampler.of(body):
                yield sampler.of(before), pump
        if whole := sampler.of(parsed):
            yield "", whole


def cost(compiled: re.Pattern[Any], text: str) -> float:
    """Returns the seconds of this thread's work for a text that doesn't match."""
    given: Any = text.encode("latin-1") if isinstance(compiled.pattern, bytes) else text
    took = []
    for _ in range(2):
        begun = time.thread_time()
        compiled.fullmatch(given)
        compiled.search(given)
        took.append(time.thread_time() - begun)
    return min(took)


def grows(compiled: re.Pattern[Any], begin: str, pump: str) -> bool:
    """Whether the cost grows faster than the text, once it can be measured."""
    times, before, length_before = 4, 0.0, 1
    while times * len(pump) < MAX_LENGTH:
        text = begin + pump * times + "\x80"
        took = cost(compiled, text)
        if took > 0.02 and before > 0.0005 and took / before > 2 * len(text) / length_before:
            return True
        before, length_before = took, len(text)
        times = times + 2 if times < 40 else times * 2  # in small steps: doubling would hang
    return False


@pytest.mark.parametrize("place", collected())
def test_a_pattern_costs_in_proportion_to_what_it_reads(place: str) -> None:
    pattern = collected()[place]
    compiled = re.compile(pattern)
    assert [each for each in sorted(set(attacks(pattern))) if grows(compiled, *each)] == []


@pytest.mark.parametrize(
    "bad",
    [
        rb"(?:\r\n[A-Za-z0-9-]+: ?[\x20-\x7e]*)+",
        r"(a+)+b",
        r"(a|a)*b",
        r"(?:[a-z]+\.?)+@",
        r"\s+$",
        r"\d*\d*\d*x",
    ],
)
def test_a_pattern_that_backtracks_is_found(bad: Text) -> None:
    assert any(grows(re.compile(bad), *each) for each in attacks(bad))


def test_every_pattern_is_collected_and_what_is_left_out_is_there() -> None:
    found = collected()
    assert {"analytics_app/fast_lane.py", "chassis/telemetry.py", "chassis/api.py"} <= {
        place.rpartition(":")[0] for place in found
    }
    assert all((ROOT / name).exists() for name in OWN)
    sources = [path for each in PACKAGES for path in (ROOT / each).rglob("*.py")]
    assert not [path for path in sources if "from re import" in path.read_text()]
