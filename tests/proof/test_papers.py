"""What docs/security.md and docs/reliability.md point to is there."""

from __future__ import annotations

import re

import pytest

from benchmarks.__main__ import WORKLOADS
from tests.chaos.faults import ALL
from tests.stack import ROOT

NAMED = re.compile(r"`(test_\w+)`")
# Every requirement of ASVS 5.0 at levels 1 and 2, by section.
ASVS = """
    1.1.1-2 1.2.1-9 1.3.1-11 1.4.1-3 1.5.1-2 2.1.1-3 2.2.1-3 2.3.1-4 2.4.1 3.2.1-2 3.3.1-4 3.4.1-6
    3.5.1-5 3.7.1-2 4.1.1-3 4.2.1 4.3.1-2 4.4.1-4 5.1.1 5.2.1-3 5.3.1-2 5.4.1-3 6.1.1-3 6.2.1-12
    6.3.1-4 6.4.1-4 6.5.1-5 6.6.1-3 6.8.1-4 7.1.1-3 7.2.1-4 7.3.1-2 7.4.1-5 7.5.1-2 7.6.1-2 8.1.1-2
    8.2.1-3 8.3.1 8.4.1 9.1.1-3 9.2.1-4 10.1.1-2 10.2.1-2 10.3.1-4 10.4.1-11 10.5.1-5 10.6.1-2
    10.7.1-3 11.1.1-2 11.2.1-3 11.3.1-3 11.4.1-4 11.5.1 11.6.1 12.1.1-3 12.2.1-2 12.3.1-4 13.1.1
    13.2.1-5 13.3.1-2 13.4.1-5 14.1.1-2 14.2.1-4 14.3.1-3 15.1.1-3 15.2.1-3 15.3.1-7 16.1.1 16.2.1-5
    16.3.1-4 16.4.1-3 16.5.1-3 17.1.1 17.2.1-4 17.3.1-2
"""
NUMBERS = re.compile(r"(\d+\.\d+)(?:\.(\d+)(?:[-–](?:[\d.]+\.)?(\d+))?)?")
WRITTEN = re.compile(r"^\s*def (test_\w+)", re.MULTILINE)


MARKED = re.compile(r"<!-- (\w+): begin -->(.*?)<!-- \1: end -->", re.DOTALL)


def written_tests() -> set[str]:
    files = (ROOT / "tests").rglob("test_*.py")
    return {name for path in files for name in WRITTEN.findall(path.read_text())}


@pytest.mark.parametrize("document", ["docs/security.md", "docs/reliability.md", "SECURITY.md"])
def test_every_test_that_a_document_names_is_written(document: str) -> None:
    named = set(NAMED.findall((ROOT / document).read_text()))
    assert named - written_tests() == set()


def test_every_requirement_names_a_test_or_a_reason() -> None:
    rows = re.findall(r"^\| ([\d.]+.*?) \| (.*) \|$", security(), re.MULTILINE)
    assert len(rows) > 80
    assert all(len(held) > 10 for _, held in rows)


def test_every_requirement_of_levels_1_and_2_is_met_or_spoken_of() -> None:
    table = security().partition("## OWASP ASVS")[2].partition("## What broke once")[0]
    rows = re.findall(r"^\| ([\d.,– ]+)", table, re.MULTILINE)
    rest = re.findall(r"\(([\d][^)]*)\)", table.partition("Requirements that don't apply")[2])
    wanted = numbers(ASVS)
    assert len(wanted) == 253
    spoken_of = numbers(" ".join([*rows, *rest]))
    whole = {each for each in spoken_of if each.count(".") == 1}
    assert {each for each in wanted - spoken_of if each.rpartition(".")[0] not in whole} == set()


def numbers(text: str) -> set[str]:
    """Returns `1.2.3`, `1.2.4` for `1.2.3–1.2.4` or `1.2.3-4`, and a section by itself as `1.2`."""
    found = set()
    for section, first, last in NUMBERS.findall(text):
        if not first:
            found.add(section)
        found |= {f"{section}.{n}" for n in range(int(first or 1), int(last or first or 0) + 1)}
    return found


def security() -> str:
    return (ROOT / "docs" / "security.md").read_text()


def test_the_table_of_faults_has_a_row_for_each_fault() -> None:
    table = (ROOT / "docs" / "reliability.md").read_text()
    assert {fault.name for fault in ALL} == set(re.findall(r"make chaos FAULT=([\w-]+)", table))


def test_each_figure_of_speed_stands_where_its_command_writes_it() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    assert [name for name, _ in MARKED.findall(text)] == [*WORKLOADS, "overview"]
    assert "|" not in MARKED.sub("", text)
