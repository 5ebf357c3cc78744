"""What docs/security.md and docs/reliability.md point to is there."""

from __future__ import annotations

import re

import pytest

from tests.chaos.faults import ALL
from tests.stack import ROOT

NAMED = re.compile(r"`(test_\w+)`")
WRITTEN = re.compile(r"^\s*def (test_\w+)", re.MULTILINE)


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


def security() -> str:
    return (ROOT / "docs" / "security.md").read_text()


def test_the_table_of_faults_has_a_row_for_each_fault() -> None:
    table = (ROOT / "docs" / "reliability.md").read_text()
    assert {fault.name for fault in ALL} == set(re.findall(r"make chaos FAULT=([\w-]+)", table))
