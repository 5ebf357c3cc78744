"""Figures: what plotly.py accepts, and what a reader must be able to trust."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import plotly.graph_objects as go
import pytest

from dashboard_app import charts, formats, reports
from dashboard_app.charts import Series
from dashboard_app.filters import read


def buckets(*starts: str, unfinished: int = 1) -> list[dict[str, Any]]:
    return [
        {"start": start, "count": n, "unique_users": n, "complete": n < len(starts) - unfinished}
        for n, start in enumerate(starts)
    ]


DAYS = buckets("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z")


def trend(shown: list[dict[str, Any]] = DAYS, **given: Any) -> dict[str, Any]:
    values = [each["count"] for each in shown]
    usual: dict[str, Any] = {
        "previous": [("a", 1), ("b", 2)],
        "interval": "day",
        "tz": "UTC",
        "now": datetime(2026, 11, 22, 12, tzinfo=UTC),
        "label": "events",
        "revision": "r",
    }
    chosen = {**usual, **given}
    return charts.trend_figure(shown, values, chosen.pop("previous"), **chosen)


def colored(value: Any) -> Any:
    """Puts a color for each token, as the browser does."""
    if isinstance(value, dict):
        return {name: colored(each) for name, each in value.items()}
    if isinstance(value, list):
        return [colored(each) for each in value]
    return "#123456" if isinstance(value, str) and value.startswith("--") else value


def bars(names: list[str]) -> dict[str, Any]:
    series = [Series(name, f"--c{n}", [1, 2, 3]) for n, name in enumerate(names, 1)]
    return charts.bars_figure(DAYS, series, interval="day", tz="UTC", revision="r")


@pytest.mark.parametrize(
    "figure",
    [
        trend(),
        trend([]),
        trend(DAYS[:1]),
        trend(previous=[]),
        bars(["a", "b"]),
        bars([]),
        charts.donut_figure([("a", "--c1", 3, "?"), ("b", "--c2", 1, "")], revision="r"),
        charts.donut_figure([], revision="r"),
    ],
)
def test_plotly_accepts_every_figure(figure: dict[str, Any]) -> None:
    go.Figure(colored(figure))


def test_the_unfinished_end_of_the_line_is_dotted_and_the_comparison_dashed() -> None:
    finished, unfinished, before = trend()["data"]
    assert before["line"]["dash"] == "dash"
    assert "dash" not in finished["line"]
    assert finished["x"] == ["2026-11-20", "2026-11-21"]
    assert unfinished["line"]["dash"] == "dot"
    assert unfinished["x"] == ["2026-11-21", "2026-11-22"]
    assert unfinished["hoverinfo"] == ["skip", "text"]


def test_what_lies_ahead_is_not_drawn_as_nothing() -> None:
    figure = trend(now=datetime(2026, 11, 21, 12, tzinfo=UTC))
    assert [each["x"][-1] for each in figure["data"][:2]] == ["2026-11-21", "2026-11-21"]
    assert figure["layout"]["xaxis"]["range"] == ["2026-11-20", "2026-11-22"]
    early = trend(DAYS[:1] + DAYS[2:] * 2, now=datetime(2026, 11, 20, 12, tzinfo=UTC))
    assert [each["x"] for each in early["data"][:1]] == [["2026-11-20"]]


def test_an_unfinished_bar_is_hatched() -> None:
    (only,) = bars(["a"])["data"]
    assert only["marker"]["pattern"]["shape"] == ["", "", "/"]


def test_the_hour_that_a_night_has_twice_has_two_places() -> None:
    night = buckets(*(f"2026-10-24T{hour}:00:00Z" for hour in (22, 23)), unfinished=0)
    night += buckets(*(f"2026-10-25T0{hour}:00:00Z" for hour in (0, 1, 2)), unfinished=0)
    x = charts.axis_values(night, "hour", "Europe/Berlin")
    assert len(set(x)) == 5
    assert x == sorted(x)
    names = [charts.bucket_name(each["start"], "hour", "Europe/Berlin") for each in night]
    assert names[2:4] == ["25 Oct 02:00", "25 Oct 02:00"]


def test_days_are_those_of_the_zone() -> None:
    shown = buckets("2026-11-21T18:15:00Z")
    assert charts.axis_values(shown, "day", "Asia/Kathmandu") == ["2026-11-22"]
    assert charts.bucket_name(shown[0]["start"], "day", "Asia/Kathmandu") == "Sun 22 Nov 2026"


def test_text_from_outside_can_not_become_plotlys_markup() -> None:
    hostile = "<b>%{y}</b>&amp;"
    assert charts.plain(hostile) == "&lt;b&gt;%&#123;y}&lt;/b&gt;&amp;amp;"
    text = str(bars([hostile])) + str(charts.donut_figure([(hostile, "--c1", 1, "")], revision=""))
    assert "<b>" not in text
    assert "%{y}" not in text.replace("%{y:,}", "")


def test_no_more_than_six_types_have_colors_and_each_keeps_its_own() -> None:
    ranking = [f"type{n}" for n in range(9)]
    first = reports.colors(ranking[:6], ranking)
    assert len(set(first.values())) == 6
    fewer = reports.colors(["type4", "type1"], ranking)
    assert fewer == {"type4": first["type4"], "type1": first["type1"]}
    rare = reports.colors(["type8", "type0"], ranking)
    assert rare["type0"] == first["type0"]
    assert rare["type8"] not in (rare["type0"], "")


def test_a_zoom_survives_new_numbers_and_nothing_else() -> None:
    week, month = read({"range": "7d"}, "UTC"), read({}, "UTC")
    assert reports.revision(week, "events") == reports.revision(week, "events")
    assert reports.revision(week, "events") != reports.revision(month, "events")
    assert reports.revision(week, "events") != reports.revision(week, "users")


def test_a_sparkline_stays_inside_its_box_for_any_values() -> None:
    for values in ([], [0], [0, 0], [5, 1e9, 3]):
        drawn = charts.sparkline(values)
        heights = [float(point.split()[1]) for point in drawn["line"][1:].split("L") if point]
        assert all(0 <= height <= 28 for height in heights)


@pytest.mark.parametrize(
    ("value", "text"),
    [(157_376, "157,376"), (2.55, "2.5"), (1e15, "1,000,000,000,000,000"), (-1.5e300, "-1.5e+300")],
)
def test_a_number_is_as_long_as_its_digits(value: float, text: str) -> None:
    assert formats.number(value) == text
