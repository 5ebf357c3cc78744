"""What a page costs: bytes over the wire, shifts of the layout, and no outside host."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator

import pytest

from tests.e2e.browser import Browser
from tests.e2e.conftest import register, send
from tests.stack import Stack

KB = 1000


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Yields the platform with enough types and days to fill every chart."""
    with Stack() as running:
        register(running, "root")
        send(
            running,
            *(
                {"event_type": f"event_type_{n % 9}", "user_id": 100 + n, "metadata": {"n": n}}
                for n in range(300)
            ),
        )
        yield running


@pytest.fixture
def counted(stack: Stack) -> Iterator[Browser]:
    """Yields a browser with an empty cache, signed in but not yet at the overview."""
    prefix = f"chromium-{os.getpid()}-"
    with (
        tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as profile,
        Browser(stack.dashboard_url, profile, log_network=True) as opened,
    ):
        yield opened


def received(browser: Browser) -> dict[str, int]:
    """Returns the bytes over the wire by address since this was last asked.

    Chromium's own pages, such as a new tab, are not the dashboard's.
    """
    addresses: dict[str, str] = {}
    counts: dict[str, int] = {}
    for entry in browser.driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        given = message["params"]
        if message["method"] == "Network.requestWillBeSent":
            addresses[given["requestId"]] = given["request"]["url"]
        if message["method"] == "Network.loadingFinished":
            address = addresses.get(given["requestId"], "chrome:")
            if address.startswith(("chrome:", "data:", "blob:")):
                continue
            counts[address] = counts.get(address, 0) + int(given["encodedDataLength"])
    return counts


def test_the_sign_in_page_is_small_and_has_no_chart_code(counted: Browser) -> None:
    counted.visit("/login")
    loaded = received(counted)
    assert sum(loaded.values()) < 40 * KB, loaded
    assert not [address for address in loaded if "plotly" in address]


def test_a_first_visit_and_a_change_of_filters_stay_within_their_bars(counted: Browser) -> None:
    counted.visit("/login")
    counted.sign_in("root")
    counted.until_settled()
    first = received(counted)
    assert sum(first.values()) <= 400 * KB, first
    counted.press("90 days")
    counted.until(lambda: "range=90d" in counted.path, "no change")
    counted.until_settled()
    change = {name: size for name, size in received(counted).items() if "pulse" not in name}
    assert sum(change.values()) <= 10 * KB, change


def test_a_second_visit_loads_no_file_again(counted: Browser) -> None:
    counted.sign_in("root")
    counted.until_settled()
    received(counted)
    counted.visit("/events")
    counted.visit("/")
    counted.until_settled()
    again = {name for name, size in received(counted).items() if "/static/" in name and size}
    assert again == set()


def test_a_table_page_is_at_most_three_kilobytes(counted: Browser) -> None:
    counted.sign_in("root")
    counted.until_settled()
    for path in ("/accounts", "/invites", "/api-keys", "/audit"):
        received(counted)
        counted.visit(path)
        page = {name: size for name, size in received(counted).items() if "/static/" not in name}
        assert sum(page.values()) <= 3 * KB, page


def test_nothing_comes_from_another_host(counted: Browser, stack: Stack) -> None:
    counted.sign_in("root")
    counted.until_settled()
    for path in ("/events", "/accounts", "/settings"):
        counted.visit(path)
    hosts = {name.split("/")[2] for name in received(counted) if name.startswith("http")}
    assert hosts == {stack.dashboard_url.removeprefix("http://")}


@pytest.mark.parametrize("width", [1440, 390])
def test_no_page_jumps_while_it_loads(counted: Browser, width: int) -> None:
    counted.resize(width, 900)
    counted.sign_in("root")
    counted.until_settled()
    for path in ("/", "/events", "/live", "/retention", "/accounts"):
        counted.visit(path)
        counted.until_settled()
        assert counted.script("return window.shifted") < 0.01, path
