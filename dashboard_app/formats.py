"""Numbers, times and names as people read them; the templates' filters."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import Flask
from markupsafe import Markup


def install(app: Flask) -> None:
    """Registers every filter under its own name."""
    for function in FILTERS:
        app.jinja_env.filters[function.__name__] = function
    app.jinja_env.globals["range_name"] = range_name


def number(value: float) -> str:
    """Returns 157376 as `157,376`, and what has more digits than a double as `1.5e+300`."""
    if abs(value) >= 1e16:
        return f"{value:.6g}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def compact(value: float) -> str:
    """Returns 45200 as `45.2k`, exact below ten thousand."""
    for limit, suffix in ((1e9, "bn"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            unit = 1e3 if suffix == "k" else limit
            return f"{value / unit:.1f}{suffix}"
    return number(value)


def percent(share: float, digits: int = 1) -> str:
    """Returns 0.546 as `54.6%`."""
    return f"{share * 100:.{digits}f}%"


def parsed(text: str) -> datetime:
    """Returns the moment of an RFC 3339 text."""
    return datetime.fromisoformat(text)


def moment(text: str | None, tz: str = "UTC", *, seconds: bool = True) -> str:
    """Returns `22 Nov 2026 14:32:01` in the zone."""
    if not text:
        return "never"
    local = parsed(text).astimezone(ZoneInfo(tz))
    return f"{local.day} {local:%b %Y %H:%M:%S}" if seconds else f"{local.day} {local:%b %Y %H:%M}"


def clock(text: str, tz: str = "UTC") -> str:
    """Returns `14:32:01` in the zone."""
    return f"{parsed(text).astimezone(ZoneInfo(tz)):%H:%M:%S}"


def is_past(text: str) -> bool:
    """Whether the moment is over."""
    return parsed(text) < datetime.now(UTC)


def day_name(of: date, *, year: bool = True) -> str:
    """Returns `24 Oct 2026`, or `24 Oct`."""
    return f"{of.day} {of:%b %Y}" if year else f"{of.day} {of:%b}"


def range_name(first: date, last: date) -> str:
    """Returns `24 Oct – 22 Nov 2026`, without what would be said twice."""
    if first == last:
        return day_name(first)
    return f"{day_name(first, year=first.year != last.year)} – {day_name(last)}"


BROWSERS = {
    "Edg/": "Edge",
    "OPR/": "Opera",
    "Firefox/": "Firefox",
    "Chrome/": "Chrome",
    "Safari/": "Safari",
    "curl/": "curl",
    "python-requests/": "a Python program",
}
SYSTEMS = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}


def program(user_agent: str) -> str:
    """Returns `Chrome on Linux` for what a browser says of itself, else its own first words."""
    browser = next((name for mark, name in BROWSERS.items() if mark in user_agent), "")
    system = next((name for mark, name in SYSTEMS.items() if mark in user_agent), "")
    known = " on ".join(each for each in (browser, system) if each)
    return known or user_agent[:40] or "unknown"


def initials(name: str) -> str:
    """Returns at most two capital letters of a name."""
    words = [word for word in name.replace("_", " ").replace(".", " ").split() if word]
    return "".join(word[0] for word in words[:2]).upper() or "?"


def plural(count: int, one: str, many: str = "") -> str:
    """Returns `1 event` or `3 events`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Returns 5400 as `1 h 30 min`: the two largest units that there are."""
    left, parts = round(seconds), []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        whole, left = divmod(left, size)
        if whole:
            parts.append(f"{whole} {unit}")
    return " ".join(parts[:2]) or "0 s"


def as_json(value: Any) -> Markup:
    """Returns JSON that may stand in a script element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704 - nothing left can end the element  # nosec B704


FILTERS = (
    number, compact, percent, moment, clock, is_past, day_name, initials, program, plural, duration,
    as_json,
)  # fmt: skip
