"""No answer outside the documents, no 5xx, and nothing behind a door without its key.

A short run with a fixed seed; `make fuzz` is the long one, on PostgreSQL, with stateful tests.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.proof.fuzz import Effort, findings
from tests.proof.people import UNLIMITED, People
from tests.stack import Stack

SHORT = Effort(examples=4, seed=20261122, phases="examples,coverage,fuzzing")


@pytest.fixture(scope="module")
def people() -> Iterator[People]:
    with Stack(parts=("users", "analytics"), settings=UNLIMITED) as stack:
        yield People(stack)


@pytest.mark.parametrize("role", ["viewer", "admin"])
def test_every_answer_is_one_that_the_documents_name(people: People, role: str) -> None:
    found = findings(people.stack, people, role, SHORT)
    assert not found, "\n\n".join(found)
