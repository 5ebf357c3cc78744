"""The files of our own that pages name."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from tests.stack import ROOT
from tests.unit.dashboard.conftest import Platform

USE = re.compile(r'<use href="/static/icons\.\w+\.svg#(\w*)"/>')


@pytest.fixture(scope="module")
def symbols() -> set[str]:
    """Returns the names of the icons that static/icons.svg holds."""
    elements = ElementTree.parse(ROOT / "static" / "icons.svg").iter()
    return {element.attrib["id"] for element in elements if "id" in element.attrib}


def test_each_icon_of_a_page_is_in_the_file(platform: Platform, symbols: set[str]) -> None:
    for path in ("/", "/events", "/live", "/funnels", "/accounts", "/settings", "/nowhere"):
        used = set(re.findall(USE, platform.admin.get(path).text))
        assert set() < used <= symbols, path


def test_the_file_holds_no_icon_that_nothing_names(symbols: set[str]) -> None:
    sources = [*(ROOT / "templates").rglob("*.html"), ROOT / "dashboard_app" / "nav.py"]
    text = "".join(path.read_text() for path in sources)
    assert {name for name in symbols if f'"{name}"' not in text} == set()
