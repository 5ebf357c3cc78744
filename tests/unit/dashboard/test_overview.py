"""The overview's figures are the analytics service's, and its panels fail alone."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.unit.dashboard.conftest import Platform, event, text_of

PANELS = ("/overview/trend", "/overview/types", "/overview/bars", "/overview/latest")


def figure_of(answer: TestResponse) -> Any:
    found = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', answer.text, re.S)
    assert found
    return json.loads(found[1])


def rows_of(answer: TestResponse) -> list[list[str]]:
    assert answer.headers["Content-Disposition"].startswith("attachment")
    return list(csv.reader(io.StringIO(answer.text)))


def test_the_frame_holds_the_panels_and_the_panels_hold_figures(platform: Platform) -> None:
    platform.send(event("page_view", user_id=5), event("page_view", user_id=6), event("search"))
    page = platform.admin.get("/")
    for path in PANELS:
        assert f'hx-get="{path}"' in page.text
    assert 'data-figure="trend-figure"' in platform.admin.fragment("/overview/trend").text


def test_the_tiles_say_what_the_summary_says(platform: Platform) -> None:
    platform.send(
        event("page_view", user_id=5),
        event("page_view", user_id=6, hours_ago=24 * 3),
        event("user_registered", user_id=6),
        event("user_login_failed", user_id=5),
        event("page_view", user_id=6, hours_ago=24 * 36),
    )
    text = text_of(platform.admin.fragment("/overview/trend"))
    assert re.search(r"Active users 2 .*100\.0% vs 1", text)
    assert re.search(r"Events 4 .*300\.0% vs 1", text)
    assert re.search(r"Sign-ups 1 vs 0", text)
    assert re.search(r"Failed sign-ins 1 vs 0", text)


def test_more_failures_are_bad_and_more_visitors_are_good(platform: Platform) -> None:
    for kind in ("user_login_failed", "page_view"):
        platform.send(event(kind, 24 * 36, user_id=9))
        platform.send(*(event(kind, user_id=n) for n in (1, 2, 3)))
    tiles = platform.admin.fragment("/overview/trend").text.split('class="tile"')
    assert "pill good" in tiles[1]
    assert "pill bad" in tiles[4]


def test_the_line_the_table_and_the_download_agree(platform: Platform) -> None:
    platform.send(*(event("page_view", 24 * n + 0.1, user_id=n + 1) for n in range(5)))
    answer = platform.admin.fragment("/overview/trend?range=7d&metric=events&compare=0")
    drawn = figure_of(answer)["data"]
    points = dict(pair for line in drawn for pair in zip(line["x"], line["y"], strict=True))
    rows = rows_of(platform.admin.get("/overview/trend.csv?range=7d&metric=events&compare=0"))
    assert sum(points.values()) == 5
    assert [int(row[1]) for row in rows[1:]] == list(points.values())
    cells = re.findall(r'<td class="num">(\d+)</td>', answer.text)
    assert [int(each) for each in cells] == list(points.values())


@pytest.mark.parametrize("name", ["today", "yesterday", "7d", "30d", "90d", "12m"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "Pacific/Kiritimati", "Pacific/Niue"])
def test_every_range_is_drawn_in_every_zone(platform: Platform, name: str, zone: str) -> None:
    platform.send(event("page_view", 0))
    for metric in ("users", "events", "signups", "failures"):
        query = f"range={name}&tz={zone}&metric={metric}"
        assert platform.admin.fragment(f"/overview/trend?{query}").status_code == 200
        assert platform.admin.get(f"/overview/trend.csv?{query}").status_code == 200


def test_a_filter_by_type_holds_for_every_panel(platform: Platform) -> None:
    platform.send(event("search", user_id=1), event("page_view"), event("page_view"))
    text = text_of(platform.admin.fragment("/overview/trend?event_type=search"))
    assert re.search(r"Active users 1 .*Events 1", text)
    assert "Sign-ups" not in text
    drawn = figure_of(platform.admin.fragment("/overview/bars?event_type=search"))["data"]
    assert [each["name"] for each in drawn] == ["search"]
    latest = text_of(platform.admin.fragment("/overview/latest?event_type=search"))
    assert "page_view" not in latest
    page = text_of(platform.admin.get("/?event_type=search"))
    assert "Event is search" in page


def test_bars_show_six_types_and_the_rest_and_add_up(platform: Platform) -> None:
    platform.send(*(event(f"type{n}", hours_ago=0) for n in range(8) for _ in range(10 - n)))
    rows = rows_of(platform.admin.get("/overview/bars.csv?range=today"))
    assert rows[0] == ["hour", *(f"type{n}" for n in range(6)), "Other"]
    assert sum(int(cell) for row in rows[1:] for cell in row[1:]) == sum(range(3, 11))
    shares = rows_of(platform.admin.get("/overview/types.csv?range=today"))
    assert len(shares) == 9


def test_types_by_the_hundred_are_one_part_and_the_tiles_stay_right(platform: Platform) -> None:
    platform.send(*(event(f"type{n}", hours_ago=0) for n in range(60) for _ in range(2)))
    platform.send(event("user_registered", hours_ago=0, user_id=9))
    tiles = text_of(platform.admin.fragment("/overview/trend?range=today"))
    assert re.search(r"Events 121 .*Sign-ups 1 ", tiles)
    shown = platform.admin.fragment("/overview/types?range=today")
    assert re.search(r"Other types 21 17\.4%", text_of(shown))
    assert "type59" not in shown.text
    own = text_of(platform.admin.fragment("/overview/trend?range=today&event_type=user_registered"))
    assert re.search(r"Active users 1 .*Events 1 ", own)
    shares = rows_of(platform.admin.get("/overview/types.csv?range=today"))
    assert shares[-1] == ["(other)", "21", "1"]
    for path in ("/", "/events", "/funnels", "/properties?of=type1", "/paths?start_at=type1"):
        assert len(platform.admin.get(path).data) < 64 * 1024


def test_to_htmx_the_page_is_the_filter_bar_with_word_to_the_panels(platform: Platform) -> None:
    answer = platform.admin.fragment("/?range=7d", **{"HX-Current-URL": "http://localhost/"})
    assert "<html" not in answer.text
    assert json.loads(answer.headers["HX-Trigger-After-Settle"]) == {"filters": {}}
    assert answer.headers["HX-Push-Url"] == "/?range=7d"


def test_the_newest_events_follow_a_filter_by_type_and_no_range(platform: Platform) -> None:
    here = {"HX-Current-URL": "http://localhost/"}
    answer = platform.admin.fragment("/?event_type=search", **here)
    assert json.loads(answer.headers["HX-Trigger-After-Settle"]) == {"filters": {}, "events": {}}


def test_another_tile_concerns_the_line_alone(platform: Platform) -> None:
    here = {"HX-Current-URL": "http://localhost/?range=7d"}
    answer = platform.admin.fragment("/?range=7d&metric=events", **here)
    assert json.loads(answer.headers["HX-Trigger-After-Settle"]) == {"metric": {}}


def test_a_poll_is_204_until_something_happens_and_then_tells_the_panels(
    platform: Platform,
) -> None:
    platform.send(event("page_view", user_id=1))
    first = platform.admin.fragment("/overview/pulse")
    cursor = re.search(r"cursor=([\w.]+)", first.text)
    assert cursor
    assert "HX-Trigger-After-Settle" not in first.headers
    again = platform.admin.fragment(f"/overview/pulse?cursor={cursor[1]}")
    assert (again.status_code, again.text) == (204, "")
    platform.send(event("page_view", 0, user_id=2))
    news = platform.admin.fragment(f"/overview/pulse?cursor={cursor[1]}")
    assert json.loads(news.headers["HX-Trigger-After-Settle"]) == {"fresh": {}}
    assert "1 person active right now" in text_of(news)


def test_many_viewers_who_poll_cost_the_service_one_look(platform: Platform) -> None:
    platform.admin.fragment("/overview/pulse")
    before = len(platform.analytics.calls)
    for _ in range(5):
        platform.admin.fragment("/overview/pulse")
    assert len(platform.analytics.calls) == before


@pytest.mark.parametrize("path", PANELS)
def test_a_failing_service_costs_its_panels_alone(platform: Platform, path: str) -> None:
    admin = platform.admin
    platform.analytics.down = True
    assert admin.get("/").status_code == 200
    answer = admin.fragment(path)
    assert answer.status_code == 503
    assert 'data-do="retry"' in answer.text
    assert "<html" not in answer.text


def test_the_panels_open_as_pages_without_javascript(platform: Platform) -> None:
    platform.send(event("page_view"))
    page = platform.admin.get("/overview/types?range=7d")
    assert "<html" in page.text
    assert "page_view" in text_of(page)


def test_nothing_yet_says_what_to_do(platform: Platform) -> None:
    text = text_of(platform.admin.fragment("/overview/types?from=2020-01-01&to=2020-01-02"))
    assert "No events in this range" in text
    assert "Show 90 days" in text


def test_days_begin_at_midnight_of_the_chosen_zone(platform: Platform) -> None:
    moment = datetime(2026, 3, 10, 18, 30, tzinfo=UTC)  # 00:15 of the 11th in Kathmandu
    platform.send({**event("page_view"), "created_at": moment.isoformat()})
    path = "/overview/trend.csv?from=2026-03-10&to=2026-03-11&interval=day&metric=events&compare=0"
    assert [row[1] for row in rows_of(platform.admin.get(path))[1:]] == ["1", "0"]
    there = rows_of(platform.admin.get(f"{path}&tz=Asia/Kathmandu"))
    assert [row[1] for row in there[1:]] == ["0", "1"]


@pytest.mark.parametrize(
    "query",
    ["range=%00", "from=x&to=y", "tz=%ff", "event_type=%3Cscript%3E", "cursor=%00", "metric[]=1",
     "interval=second", "from=2000-01-01&to=2099-12-31", "tz=" + "x" * 5000],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", *PANELS, "/overview/pulse", "/events"])
def test_no_address_makes_a_page_fail(platform: Platform, path: str, query: str) -> None:
    assert platform.admin.get(f"{path}?{query}").status_code < 500


FORMULAS = [
    begin + rest
    for begin in ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
    for rest in ("", "1+1", "A1:B2", "cmd|' /C calc'!A0", "SUM(1)", "1-A1", "1e", "1.", ".5", "１")
]


@pytest.mark.parametrize("cell", FORMULAS, ids=repr)
def test_a_download_holds_no_formula(cell: str) -> None:
    from dashboard_app.downloads import csv_text

    ((read,),) = csv.reader(io.StringIO(csv_text([[cell]]), newline=""))
    assert read == f"'{cell}"


@pytest.mark.parametrize(
    "cell",
    ["-5", "+5", "-1.5", "-1e5", "+1.25E-3", "page_view", "a=1", "1+1", "", "Ünder", -5, 2.5],
)
def test_a_download_leaves_numbers_and_words_alone(cell: object) -> None:
    from dashboard_app.downloads import csv_text

    (row,) = csv.reader(io.StringIO(csv_text([["x", cell]]), newline=""))
    assert row == ["x", str(cell)]
