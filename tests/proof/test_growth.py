"""Nothing over a stranger's bytes costs more than in proportion to their length.

All patterns of the four packages are collected by themselves, a new one too. Each repetition
in a pattern is fed what it repeats, many times over, and then something that doesn't match:
that is where backtracking doubles with each character, or squares.

Whole bodies follow: deep, wide and endless ones, through all that judges a batch.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import random
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from analytics_app.batches import parsed_batch
from analytics_app.intake import Intake, Sender
from chassis.errors import Problem
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
    begun = time.thread_time()
    compiled.fullmatch(given)
    compiled.search(given)
    return time.thread_time() - begun


def grows(compiled: re.Pattern[Any], begin: str, pump: str) -> bool:
    """Whether the cost grows faster than the text, once it can be measured."""
    times, before, length_before = 4, 0.0, 1
    while times * len(pump) < MAX_LENGTH:
        text = begin + pump * times + "\x80"
        took = cost(compiled, text)
        most = max(0.02, 2 * before * len(text) / length_before)
        if before > 0.0005 and took > most and cost(compiled, text) > most:  # twice: by no chance
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


def event(value: str) -> str:
    return f'{{"event_type":"a","metadata":{{"k":{value}}}}}'


def batch(value: str) -> str:
    return f'{{"events":[{event(value)},{event("1")}]}}'


def batch_of(value: str, times: int) -> str:
    return f'{{"events":[{",".join([event(value)] * times)}]}}'


# By how many bytes: what may cost most of each kind.
BODIES: dict[str, Callable[[int], str]] = {
    "[[[ ]]]": lambda n: batch("[" * (n // 2) + "]" * (n // 2)),
    "[[[": lambda n: "[" * n,
    "[ [ [": lambda n: batch("[ " * (n // 3) + "]" * (n // 3)),
    "objects": lambda n: batch('{"":' * (n // 5) + "1" + "}" * (n // 5)),
    "objects in lists": lambda n: batch('[1,{"":' * (n // 9) + "1" + "}]" * (n // 9)),
    "wide and deep": lambda n: batch("[" * 2_000 + "[1]," * (n // 4) + "1" + "]" * 2_000),
    "wide where it is cut": lambda n: batch(
        "[" * 59 + f"[{'[' * 1_500}{']' * 1_500}," + "[1]," * (n // 4) + "1]" + "]" * 59
    ),
    "quotes": lambda n: batch("[" * 2_000 + '"' + '\\"' * (n // 2) + '"' + "]" * 2_000),
    "open text": lambda n: batch("[" * 2_000 + '"' + "\\" * n),
    "quotes alone": lambda n: batch("[" * 2_000 + '" ' * (n // 2)),
    "digits": lambda n: batch("1" * n),
    "fraction": lambda n: batch("1." + "1" * n),
    "exponent": lambda n: batch("1e" + "1" * n),
    "numbers of 4,300 digits": lambda n: batch(f"[{('1' * 4_300 + ',') * (n // 4_301)}1]"),
    "numbers of 4,301 digits": lambda n: batch(f"[{('1' * 4_301 + ',') * (n // 4_302)}1]"),
    "lists": lambda n: batch(f"[{'[],' * (n // 3)}1]"),
    "NULs": lambda n: batch(f"[{chr(34)}{(chr(92) + 'u0000') * (n // 6)}{chr(34)}]"),
    "texts with NULs": lambda n: batch("[" + '"\\u0000",' * (n // 9) + "1]"),
    "names twice": lambda n: batch("{" + '"":1,' * (n // 5) + '"":1}'),
    "unknown names": lambda n: (
        '{"events":[{' + ",".join(f'"{each}":1' for each in range(n // 9)) + "}]}"
    ),
    "events of 180 levels": lambda n: batch_of("[" * 180 + "]" * 180, n // 400),
    "events of 700 levels": lambda n: batch_of("[" * 700 + "]" * 700, n // 1_440),
    "events of 2,000 levels": lambda n: batch_of("[" * 2_000 + "]" * 2_000, n // 4_040),
}


def judge(data: bytes) -> None:
    """Reads and judges a batch, as the route does before it asks the database."""
    intake, sender, now = Intake("secret"), Sender(trusted=True), datetime.now(UTC)
    try:
        events = parsed_batch(data, lines=False)
    except Problem:
        return
    for each in events:
        if isinstance(each, dict):
            with contextlib.suppress(Problem):
                intake.row(each, sender, now)


def judging(data: bytes) -> float:
    """Returns the seconds of this thread's work to judge a batch, at best.

    Without garbage collection: what that costs hangs on all else that the tests hold.
    """
    took = []
    gc.disable()
    for _ in range(2):
        begun = time.thread_time()
        judge(data)
        took.append(time.thread_time() - begun)
    gc.enable()
    return min(took)


@pytest.mark.parametrize("name", BODIES)
def test_a_body_costs_in_proportion_to_its_length(name: str) -> None:
    small, large = (judging(BODIES[name](size).encode()) for size in (150_000, 600_000))
    # Sixteen times the cost would be the square; below this nothing can be told from noise.
    assert large < 0.02 or large < 8 * small, (small, large)
