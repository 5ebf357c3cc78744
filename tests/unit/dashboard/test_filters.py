"""What an address says, and that it says all of it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dashboard_app.filters import INTERVALS, METRICS, PRESETS, Filters, read

NOW = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)


def test_an_address_without_parameters_means_the_last_thirty_days() -> None:
    filters = read({}, "UTC", NOW)
    assert (filters.first, filters.last) == (date(2026, 10, 24), date(2026, 11, 22))
    assert filters.bounds() == {"start": "2026-10-24", "end": "2026-11-23", "tz": "UTC"}
    assert filters.query() == {}


def test_today_is_the_day_of_the_chosen_zone() -> None:
    assert read({"range": "today"}, "Asia/Kathmandu", NOW).first == date(2026, 11, 23)
    filters = read({"range": "today", "tz": "America/Chicago"}, "Asia/Kathmandu", NOW)
    assert filters.first == date(2026, 11, 22)


@pytest.mark.parametrize(
    "given",
    [
        {"range": "99d"}, {"from": "2026-02-30", "to": "2026-03-01"}, {"from": "2026-01-01"},
        {"from": "0001-01-01", "to": "9999-12-31"}, {"tz": "Mars/Olympus"}, {"tz": "../etc"},
        {"interval": "century"}, {"metric": "money"}, {"event_type": "a b"},
        {"event_type": "x" * 101}, {"from": "20260101", "to": "\x00"}, {"tz": "\x00"},
    ],
)  # fmt: skip
def test_what_can_not_be_read_falls_back_to_its_default(given: dict[str, str]) -> None:
    filters = read(given, "UTC", NOW)
    assert filters.query() in ({}, {"from": "2026-01-01"})
    assert filters.days == 30


def test_a_range_that_is_the_wrong_way_round_is_turned() -> None:
    filters = read({"from": "2026-11-05", "to": "2026-11-01"}, "UTC", NOW)
    assert (filters.first, filters.last) == (date(2026, 11, 1), date(2026, 11, 5))


def test_the_range_form_keeps_a_preset_when_its_days_were_not_touched() -> None:
    sent = {"range": "7d", "from": "2026-11-16", "to": "2026-11-22", "interval": "hour"}
    assert read(sent, "UTC", NOW).preset == "7d"
    assert read({**sent, "to": "2026-11-21"}, "UTC", NOW).preset is None


def test_the_comparison_lies_whole_weeks_back_and_takes_as_much_time() -> None:
    filters = read({}, "UTC", NOW)
    assert filters.shift == timedelta(days=35)
    assert filters.previous_bounds(NOW) == {
        "start": "2026-09-19",
        "end": "2026-10-18T23:30:00Z",
        "tz": "UTC",
    }


def test_the_comparison_of_a_range_that_is_over_is_as_long_as_it() -> None:
    filters = read({"range": "yesterday"}, "UTC", NOW)
    assert filters.previous_bounds(NOW) == {
        "start": "2026-11-20",
        "end": "2026-11-21",
        "tz": "UTC",
    }


def test_the_comparison_keeps_the_time_of_day_over_a_change_of_clocks() -> None:
    now = datetime(2026, 10, 25, 12, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    filters = read({"range": "today"}, "Europe/Berlin", now)
    assert filters.previous_bounds(now)["end"] == "2026-10-24T10:00:00Z"


def test_each_range_has_an_interval_that_reads_well() -> None:
    chosen = {preset.name: read({"range": preset.name}, "UTC", NOW) for preset in PRESETS}
    assert chosen["today"].interval == "hour"
    assert chosen["7d"].interval == chosen["90d"].interval == "day"
    assert chosen["12m"].interval == "week"
    assert chosen["90d"].bars_interval == "week"
    assert chosen["30d"].bars_interval == "day"


def test_an_interval_that_does_not_suit_the_range_is_not_used() -> None:
    assert read({"range": "12m", "interval": "hour"}, "UTC", NOW).interval == "week"
    assert read({"range": "7d", "interval": "hour"}, "UTC", NOW).interval == "hour"


days = some.dates(date(2000, 1, 1), date(2100, 1, 1))


@given(
    some.builds(
        lambda a, b, **rest: Filters(first=min(a, b), last=max(a, b), preset=None, **rest),
        days,
        days,
        tz=some.sampled_from(["UTC", "Asia/Kathmandu", "America/St_Johns"]),
        chosen_interval=some.sampled_from([None, *INTERVALS]),
        compare=some.booleans(),
        metric=some.sampled_from(METRICS),
        event_type=some.none() | some.from_regex(r"\A[A-Za-z0-9_.:-]{1,100}\Z"),
    )
)
def test_the_address_holds_the_whole_state(filters: Filters) -> None:
    again = read(dict(parse_qsl(filters.url("/").partition("?")[2])), "UTC", NOW)
    assert again.query() == filters.query()
    assert (again.first, again.last, again.tz) == (filters.first, filters.last, filters.tz)


@pytest.mark.parametrize("name", ["right/UTC", "posix/UTC", "localtime", "Factory", "utc", ""])
def test_a_zone_that_the_list_does_not_name_falls_back(name: str) -> None:
    assert read({"tz": name}, "Asia/Kathmandu", NOW).tz == "Asia/Kathmandu"
    assert read({"tz": "Europe/Berlin"}, "Asia/Kathmandu", NOW).tz == "Europe/Berlin"
