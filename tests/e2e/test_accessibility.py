"""axe-core finds nothing on any page, in either theme, on a desk or in a hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.browser import Browser, browser_for
from tests.e2e.conftest import promote, register, send
from tests.e2e.pages import VIEWS, View
from tests.stack import ROOT, Stack

AXE = ROOT / "var" / "browser" / "axe.min.js"
LOOKS = ((1440, "light"), (1440, "dark"), (390, "light"), (390, "dark"))
RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, { resultTypes: ["violations"] }).then((found) => done(
  found.violations.map((each) => `${each.id}: ${each.nodes.map((node) => node.html).join(" | ")}`)
), (error) => done([String(error)]));
"""

pytestmark = pytest.mark.skipif(
    not AXE.is_file(), reason="axe-core is not there: python -m ops.browser_libraries --with-tests"
)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Yields the platform with an admin `ada` and something on every page."""
    with Stack() as running:
        register(running, "root")
        promote(running, register(running, "ada"), "admin")
        send(
            running,
            *(
                {"event_type": kind, "user_id": 100752, "metadata": {"plan": "free", "n": [1, 2]}}
                for kind in ("page_view", "search", "search", "search", "order")
            ),
        )
        yield running


@pytest.fixture(scope="module")
def signed_in(stack: Stack) -> Iterator[Browser]:
    with browser_for(stack.dashboard_url, "ada") as opened:
        yield opened


@pytest.fixture(scope="module")
def stranger(stack: Stack) -> Iterator[Browser]:
    with browser_for(stack.dashboard_url, None) as opened:
        yield opened


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_axe_finds_nothing_and_nothing_sticks_out(
    view: View, request: pytest.FixtureRequest
) -> None:
    browser: Browser = request.getfixturevalue("signed_in" if view.who else "stranger")
    found = []
    for width, theme in LOOKS:
        browser.prefer(theme, "reduce")
        browser.resize(width, 900)
        browser.visit(view.path)
        browser.until_settled()
        if view.act:
            view.act(browser)
            browser.until_settled()
        browser.script(AXE.read_text())
        found += [f"{width} {theme}: {each}" for each in browser.driver.execute_async_script(RUN)]
        assert browser.script("return document.documentElement.scrollWidth") <= width
    assert found == []
