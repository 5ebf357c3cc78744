"""Figures of numbers: exact, in any order, and none left out for its size."""

from __future__ import annotations

import itertools
import json
import random
import sys
from datetime import timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from analytics_app.behaviour import sealing
from analytics_app.behaviour.numbers import percentile, sum_and_average
from analytics_app.behaviour.values import number_of
from analytics_app.models import db
from tests.unit.analytics.conftest import Api
from tests.unit.analytics_behaviour.histories import START
from tests.unit.analytics_behaviour.test_values_agree import RANGE, doubles, send

LARGEST = sys.float_info.max
HUGE = "9" * 4300


def as_double(number: Fraction) -> float:
    limit = Fraction(LARGEST)
    return float(min(max(number, -limit), limit))


def figures(numbers: list[float]) -> tuple[float, float, float, float]:
    """Returns sum, average, median and 95th percentile by whole numbers and the definition."""
    exact = sorted(map(Fraction, numbers))
    total = sum(exact, Fraction())
    found = [as_double(total), as_double(total / len(exact))]
    for share in (Fraction(1, 2), Fraction(95, 100)):
        place = share * (len(exact) - 1)
        low, high = exact[int(place)], exact[min(int(place) + 1, len(exact) - 1)]
        found.append(as_double(low + (high - low) * (place - int(place))))
    return found[0], found[1], found[2], found[3]


@pytest.mark.parametrize("seed", range(30))
def test_a_sum_is_exact_in_any_order(seed: int) -> None:
    chance = random.Random(seed)
    numbers = [float(text) for _, text in doubles(seed, chance.randint(1, 60))]
    numbers += [chance.choice([1e308, -1e308, 5e-324, 0.1, LARGEST]) for _ in range(seed)]
    expected = figures(numbers)
    for _ in range(3):
        chance.shuffle(numbers)
        assert sum_and_average(np.array(numbers)) == expected[:2]
        ordered = np.array(sorted(numbers))
        assert (percentile(ordered, 50), percentile(ordered, 95)) == expected[2:]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([0.1] * 10, (1.0, 0.1)),
        ([1e308, 1e308, -1e308], (1e308, 1e308 / 3)),
        ([LARGEST, LARGEST], (LARGEST, LARGEST)),
        ([-LARGEST, -LARGEST, -1.0], (-LARGEST, None)),
        ([5e-324] * 3, (1.5e-323, 5e-324)),
        ([1e16, 1.0, -1e16], (1.0, 1 / 3)),
    ],
)
def test_sums_that_adding_one_by_one_gets_wrong(
    numbers: list[float], expected: tuple[float, float | None]
) -> None:
    for order in itertools.permutations(numbers[:6]):
        total, average = sum_and_average(np.array([*order, *numbers[6:]]))
        assert total == expected[0]
        assert expected[1] is None or average == expected[1]


def test_a_whole_number_beyond_all_doubles_is_the_largest() -> None:
    assert number_of(HUGE) == LARGEST
    assert number_of(f"-{HUGE}") == -LARGEST
    assert number_of("1e300") == 1e300
    assert str(number_of("-0.0")) == "0.0"
    assert [number_of(each) for each in ("", '"1"', "true", "[1]", "{}")] == [None] * 5


CASES = {
    "large": ["1e300", "1.5e308", "2"],
    "too large": ["1.7e308", "1.7e308", "1e308"],
    "cancelled": ["1.7e308", "1.7e308", "-1.7e308", "-1.7e308", "0.5"],
    "huge": [HUGE, "1", "2"],
    "both": [HUGE, f"-{HUGE}", "3"],
    "tiny": ["5e-324", "1e-300", "-0.0"],
    "thirds": ["0.1", "0.2", "0.3", "1e16", "-1e16"],
}


@pytest.mark.parametrize("name", CASES)
def test_no_number_vanishes_from_the_figures_raw_or_sealed(admin: Api, name: str) -> None:
    sent = CASES[name]
    send(admin, [(each, "") for each in sent], "n", lines=False)
    expected = figures([min(max(float(each), -LARGEST), LARGEST) for each in sent])

    def found() -> Any:
        answer = admin.call(
            "GET", "/analytics/breakdown", query_string={"event_type": "a", "key": "n", **RANGE}
        )
        total = json.loads(answer.get_data(), parse_constant=pytest.fail)["total"]
        assert total["count"] == len(sent)
        return total["sum"], total["average"], total["median"], total["p95"]

    assert found() == expected
    assert list(sealing.seal_due(db, START + timedelta(days=40)))
    assert found() == expected
