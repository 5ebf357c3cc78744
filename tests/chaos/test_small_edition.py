"""A few of the faults of `make chaos`, at every run: what is acknowledged stays, and once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos import faults
from tests.chaos.platform import Platform
from tests.chaos.trial import tried


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with Platform() as running:
        yield running


@pytest.mark.parametrize(
    "fault",
    [faults.killed("analytics"), faults.killed("relay"), faults.database_killed("users")],
    ids=lambda fault: fault.name,
)
def test_nothing_acknowledged_is_lost_doubled_or_misplaced(
    platform: Platform, fault: faults.Fault
) -> None:
    row = tried(platform, fault)
    assert row.complaints == []
    assert row.acknowledged > 0
