"""The overview by mouse and by keyboard."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.browser import ESCAPE, Browser
from tests.e2e.conftest import register, send
from tests.stack import Stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Yields the platform with a month of a few events."""
    with Stack() as running:
        register(running, "root")
        now = datetime.now(UTC)
        send(
            running,
            *(
                {
                    "event_type": kind,
                    "user_id": 100 + day,
                    "created_at": (now - timedelta(days=day, minutes=number + 1)).isoformat(),
                    "event_id": f"00000000-0000-4000-8000-{day:06}{number:03}{len(kind):03}",
                    "metadata": {"plan": "free" if number % 2 else "team"},
                }
                for day in range(0, 60, 2)
                for kind, most in (("page_view", 5), ("search", 2), ("purchases", 1))
                for number in range(most)
            ),
        )
        yield running


@pytest.fixture
def overview(browser: Browser) -> Browser:
    """Returns the browser with the overview settled."""
    browser.sign_in("root")
    browser.until_settled()
    browser.script("window.stillHere = true")
    return browser


def test_a_row_filters_the_whole_page_and_its_chip_takes_the_filter_off(
    overview: Browser,
) -> None:
    overview.one("#type-search").click()
    overview.until_text(".chips", "Event is search")
    overview.until_settled()
    assert overview.path == "/?event_type=search"
    assert overview.read("#bars .legend") == "search"
    assert "page_view" not in overview.read("#latest")
    overview.one("#chip-type").click()
    overview.until_text("#bars .legend", "page_view")
    assert overview.path == "/"
    assert overview.script("return window.stillHere")


def test_a_click_on_a_slice_filters_and_on_a_day_zooms(overview: Browser) -> None:
    overview.script(CLICK, "types-plot", 0)
    overview.until_text(".chips", "Event is page_view")
    overview.until_settled()
    overview.script(CLICK, "trend-plot", 27)
    overview.until(lambda: "from=" in overview.path, "no zoom")
    overview.until_settled()
    assert "event_type=page_view" in overview.path
    assert overview.content("#trend tbody tr th").endswith("00:00")


CLICK = """
const plot = document.getElementById(arguments[0]);
const data = plot.data[0];
const point = { data, pointNumber: arguments[1], x: data.x && data.x[arguments[1]] };
plot.emit("plotly_click", { points: [point] });
"""


def test_a_zoom_by_the_mouse_stays_while_new_numbers_come(overview: Browser, stack: Stack) -> None:
    overview.drag("#trend-plot .nsewdrag", 0.5, 0.8)
    ranged = "return document.getElementById('trend-plot')._fullLayout.xaxis.range[0]"
    zoomed = overview.script(ranged)
    assert zoomed > (datetime.now(UTC) - timedelta(days=20)).date().isoformat()
    before = overview.read("#tile-events .tile-value")
    send(stack, {"event_type": "page_view", "user_id": 5})
    overview.until(lambda: overview.read("#tile-events .tile-value") != before, "no news", 15)
    overview.until_settled()
    assert overview.script(ranged) == zoomed
    overview.press("7 days")
    overview.until(lambda: "range=7d" in overview.path, "no change")
    overview.until_settled()
    overview.until(lambda: overview.script(ranged) != zoomed, "the zoom outlived its range")


def test_single_keys_choose_ranges_and_a_question_mark_lists_them(overview: Browser) -> None:
    for key, wanted in (("w", "?range=7d"), ("d", "?range=today"), ("t", "/"), ("x", "compare=0")):
        overview.keys(key)
        overview.until(lambda wanted=wanted: wanted in overview.path, f"{key} did nothing")
        overview.until_settled()
    overview.keys("?")
    assert overview.one("#shortcuts").is_displayed()
    overview.keys(ESCAPE)
    overview.until(lambda: not overview.one("#shortcuts").is_displayed(), "it stays")


def test_keys_typed_into_a_field_choose_nothing(overview: Browser) -> None:
    overview.press("–")
    overview.one("#tz").send_keys("wd")
    assert overview.path == "/"


def test_compare_goes_and_comes_back(overview: Browser) -> None:
    assert "vs " in overview.read("#tile-events")
    overview.press("Compare")
    overview.until(lambda: "vs " not in overview.read("#tile-events"), "still compared")
    assert overview.one("#compare").get_attribute("aria-checked") == "false"
    assert len(overview.all("#trend .legend li")) == 1
    overview.one("#compare").send_keys(" ")
    overview.until_text("#tile-events", "vs ")


def test_a_custom_range_an_interval_and_a_zone_come_from_the_form(overview: Browser) -> None:
    overview.press("–")
    overview.script("document.getElementById('from').value = '2026-01-05'")
    overview.script("document.getElementById('to').value = '2026-01-18'")
    overview.one("#tz").clear()
    overview.one("#tz").send_keys("Asia/Kathmandu")
    overview.script("document.getElementById('interval').value = 'week'")
    overview.press("Apply")
    overview.until(lambda: "from=2026-01-05" in overview.path, "no change")
    overview.until_text(".chips", "Times in Asia/Kathmandu")
    overview.until_settled()
    assert "interval=week" in overview.path
    overview.script("document.querySelector('#trend .table-behind').open = true")
    assert overview.read("#trend tbody th") == "week of 5 Jan 2026"
    assert overview.script("return window.stillHere")


def test_focus_stays_on_the_control_that_was_used(overview: Browser) -> None:
    overview.one("#range-7d").send_keys("\n")
    overview.until(lambda: "range=7d" in overview.path, "no change")
    overview.until_settled()
    assert overview.script("return document.activeElement.id") == "range-7d"


def test_the_theme_changes_at_once_and_is_kept(overview: Browser) -> None:
    overview.prefer("light")
    ground = "return document.querySelector('#trend-plot .bg, #trend-plot .main-svg').style.cssText"
    before = overview.script(ground)
    overview.one(".sidebar .to-dark").click()
    overview.until(lambda: overview.script(ground) != before, "the chart stays light")
    assert overview.script("return window.stillHere")
    overview.visit("/settings")
    assert overview.script("return document.documentElement.dataset.theme") == "dark"
    assert {each["name"] for each in overview.driver.get_cookies()} == {"session", "theme"}


def test_swaps_keep_the_height_of_what_is_seen(overview: Browser) -> None:
    heights = "return ['trend', 'bars'].map((id) => document.getElementById(id).offsetHeight)"
    before = overview.script(heights)
    overview.press("7 days")
    overview.until(lambda: "range=7d" in overview.path, "no change")
    overview.until_settled()
    assert overview.script(heights) == before


def test_a_hidden_tab_asks_nothing(overview: Browser) -> None:
    overview.command("Page.addScriptToEvaluateOnNewDocument", source=TEN_TIMES_AS_OFTEN)
    overview.visit("/")
    overview.until_settled()

    def asked() -> int:
        return int(overview.script("return performance.getEntriesByType('resource').length"))

    before = asked()
    overview.until(lambda: asked() > before, "no pulse")
    overview.script(
        "Object.defineProperty(document, 'hidden', {get: () => true, configurable: true})"
    )
    time.sleep(1)
    before = asked()
    time.sleep(2)  # five pulses
    assert asked() == before


TEN_TIMES_AS_OFTEN = """
const real = setInterval;
window.setInterval = (call, milliseconds) => real(call, milliseconds / 10);
"""


def test_a_chart_has_its_picture_and_no_way_to_a_cloud(overview: Browser) -> None:
    saved = overview.driver.execute_async_script(PICTURE)
    assert saved.startswith("data:image/png;base64,")
    assert overview.all(".modebar-btn, [data-title*=loud]") == []
    assert overview.script(
        "const c = document.getElementById('trend-plot')._context;"
        "return [c.showSendToCloud, c.plotlyServerURL, c.displayModeBar]"
    ) == [False, "", False]


PICTURE = """
const done = arguments[arguments.length - 1];
const plot = document.getElementById("trend-plot");
Plotly.toImage(plot, { format: "png" }).then(done, (error) => done(String(error)));
"""


def test_the_explorer_pages_by_key_and_filters_by_click(browser: Browser) -> None:
    browser.sign_in("root")
    browser.visit("/events")
    browser.script("window.stillHere = true")
    first = browser.read(".events tbody tr")
    browser.press("Older")
    browser.until(lambda: "cursor=" in browser.path, "no next page")
    browser.until(lambda: browser.read(".events tbody tr") != first, "the same page")
    browser.driver.back()
    browser.until(lambda: browser.read(".events tbody tr") == first, "not the first page again")
    browser.visit("/events?event_type=search")
    browser.script("document.querySelector('.metadata').open = true")
    browser.press("plan is")
    browser.until(lambda: "metadata.plan=" in browser.path, "no filter")
    browser.until_text(".chips", "plan is")


def test_the_page_fits_from_320_pixels_up(overview: Browser) -> None:
    for width in (320, 360, 768, 1024):
        overview.resize(width, 800)
        overview.visit("/")
        overview.until_settled()
        wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert overview.script(wide) == 0, width
