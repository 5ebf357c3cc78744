"""Every behaviour report says what plain loops over the raw events say, on both engines."""

from __future__ import annotations

import random

import pytest

from tests.unit.analytics.conftest import Api
from tests.unit.analytics_behaviour.agreement import ZONES, all_agree
from tests.unit.analytics_behaviour.histories import START, History


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("seed", range(3))
def test_reports_on_raw_events_agree_with_the_reference(admin: Api, seed: int, zone: str) -> None:
    history = History(admin, random.Random(seed))
    history.send(400)
    all_agree(admin, history.events, START, zone)


def test_reports_on_no_events_are_empty_and_not_errors(admin: Api) -> None:
    all_agree(admin, [], START, "UTC")
