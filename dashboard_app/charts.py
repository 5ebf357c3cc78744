"""Plotly figures as plain dictionaries; colors are tokens that the browser resolves by theme."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dashboard_app.formats import compact, day_name, number, parsed

Figure = dict[str, Any]
Bucket = dict[str, Any]

LARGEST_SERIES = 6
COLORS = tuple(f"--c{n}" for n in range(1, LARGEST_SERIES + 1))
DAY, MONTH = 86_400_000, "M1"
TICKS = [
    {"dtickrange": [None, DAY - 1], "value": "%H:%M\n%-d %b"},
    {"dtickrange": [DAY, MONTH], "value": "%-d %b"},
    {"dtickrange": [MONTH, None], "value": "%b %Y"},
]
# How a bucket's name is made from its x; hours carry theirs, for nights when clocks go back.
HOVER = {
    "day": "%{x|%a %-d %b %Y}",
    "week": "week of %{x|%-d %b %Y}",
    "month": "%{x|%B %Y}",
}
Links = str | Sequence[str]
FEW = 5
OTHER, OTHER_COLOR = "Other", "--c-other"


@dataclass(frozen=True, slots=True)
class Series:
    """One event type's (or the rest's) counts, a number for each bucket."""

    name: str
    color: str
    counts: Sequence[float]
    link: str = ""


def plain(text: str) -> str:
    """Returns the text so that Plotly's small HTML shows it as it is."""
    return html.escape(text, quote=False).replace("%{", "%&#123;")


def axis_values(buckets: Sequence[Bucket], interval: str, tz: str) -> list[str]:
    """Returns the x of each bucket: local days, or hours that never run backwards.

    Hours count on from the first one's offset, so that a night when the clocks go back has
    25 places.
    """
    zone = ZoneInfo(tz)
    starts = [parsed(each["start"]) for each in buckets]
    if interval not in ("hour", "minute"):
        return [start.astimezone(zone).date().isoformat() for start in starts]
    offset = starts[0].astimezone(zone).utcoffset() or timedelta() if starts else timedelta()
    return [(start.replace(tzinfo=None) + offset).isoformat(timespec="minutes") for start in starts]


def bucket_name(start: str, interval: str, tz: str) -> str:
    """Returns how a bucket is spoken of: `22 Nov`, `22 Nov 14:00`, `week of 16 Nov`."""
    local = parsed(start).astimezone(ZoneInfo(tz))
    if interval in ("hour", "minute"):
        return f"{local.day} {local:%b %H:%M}"
    if interval == "month":
        return f"{local:%B %Y}"
    name = f"{local:%a} {day_name(local.date())}"
    return f"week of {day_name(local.date())}" if interval == "week" else name


def trend_figure(
    buckets: Sequence[Bucket],
    values: Sequence[float],
    previous: Sequence[tuple[str, float]],
    *,
    interval: str,
    tz: str,
    now: datetime,
    label: str,
    revision: str,
    links: Links | None = None,
) -> Figure:
    """Returns a line over time, its unfinished end dotted, with the comparison dashed.

    `previous` holds (name, value) of the bucket that each of `buckets` is compared to;
    `links` is where a click leads: one link for each bucket, or one in which DAY stands for it.
    """
    ends = axis_values([*buckets[:1], *buckets[-1:]], interval, tz)
    buckets = begun(buckets, now)
    values = values[: len(buckets)]
    x = axis_values(buckets, interval, tz)
    names = [bucket_name(each["start"], interval, tz) for each in buckets]
    finished = finished_count(buckets)
    hover = HOVER.get(interval, "%{customdata}")
    traces = [line(x[:finished], values[:finished], names[:finished], label, hover)]
    if finished < len(x):
        begin = max(0, finished - 1)
        traces.append(open_end(x[begin:], values[begin:], names[begin:], label))
        traces[-1]["meta"] = part_of(links, begin, len(x))
    traces[0]["meta"] = part_of(links, 0, finished)
    # Last, or the filled line would cover it.
    traces += [earlier_line(x, previous)] if previous else []
    frame = layout(revision, zoomable=True)
    if len(ends) > 1:
        frame["xaxis"]["range"] = ends
    largest = max([*values, *(each for _, each in previous)], default=0)
    return {"data": traces, "layout": counted(frame, largest)}


def begun(buckets: Sequence[Bucket], now: datetime) -> list[Bucket]:
    """Returns the buckets without those that lie ahead: nothing is known of them, not even 0."""
    return [each for each in buckets if parsed(each["start"]) <= now]


def finished_count(buckets: Sequence[Bucket]) -> int:
    """Returns how many buckets come before the first unfinished one."""
    return next((i for i, each in enumerate(buckets) if not each["complete"]), len(buckets))


def part_of(links: Links | None, begin: int, end: int) -> Figure:
    """Returns the `meta` by which charts.js finds where a click on a bucket leads."""
    if isinstance(links, str):
        return {"link": links}
    return {"links": list(links[begin:end])} if links else {}


def line(
    x: Sequence[str],
    y: Sequence[float],
    names: Sequence[str],
    label: str,
    hover: str = "%{customdata}",
) -> Figure:
    shown = {
        "type": "scatter",
        "mode": "lines" if len(x) > 1 else "markers",
        "x": list(x),
        "y": list(y),
        "line": {"color": "--c1", "width": 2},
        "marker": {"color": "--c1", "size": 7},
        "fill": "tozeroy",
        "fillcolor": "--c1-soft",
        "hovertemplate": f"{hover}<br>%{{y:,}} {plain(label)}<extra></extra>",
    }
    return shown | ({"customdata": list(names)} if "customdata" in hover else {})


def open_end(x: Sequence[str], y: Sequence[float], names: Sequence[str], label: str) -> Figure:
    """Returns the last stretch, dotted: its bucket is not over yet."""
    shown = line(x, y, names, label)
    del shown["hovertemplate"], shown["customdata"]
    spoken = [
        f"{name}<br>{number(value)} {label} so far" for name, value in zip(names, y, strict=True)
    ]
    shown["line"] = {"color": "--c1", "width": 2, "dash": "dot"}
    shown["hovertext"] = spoken
    # Its first point is the finished line's last, which speaks for itself.
    shown["hoverinfo"] = ["skip"] + ["text"] * (len(x) - 1) if len(x) > 1 else "text"
    return shown


def earlier_line(x: Sequence[str], previous: Sequence[tuple[str, float]]) -> Figure:
    pairs = list(zip(x, previous, strict=False))
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [each for each, _ in pairs],
        "y": [value for _, (_, value) in pairs],
        "customdata": [name for _, (name, _) in pairs],
        "line": {"color": "--compare", "width": 1.5, "dash": "dash"},
        "hovertemplate": "%{customdata}<br>%{y:,} before<extra></extra>",
    }


def bars_figure(
    buckets: Sequence[Bucket], series: Sequence[Series], *, interval: str, tz: str, revision: str
) -> Figure:
    """Returns bars over time, stacked by event type; an unfinished bucket is hatched."""
    x = axis_values(buckets, interval, tz)
    names = [bucket_name(each["start"], interval, tz) for each in buckets]
    pattern = ["" if each["complete"] else "/" for each in buckets]
    hover = HOVER.get(interval, "%{customdata}")
    traces = [stack(x, each, names, pattern, hover) for each in series]
    frame = layout(revision, zoomable=False) | {"barmode": "stack", "bargap": 0.28}
    heights = [sum(column) for column in zip(*(each.counts for each in series), strict=True)]
    return {"data": traces, "layout": counted(frame, max(heights, default=0))}


def stack(x: list[str], series: Series, names: list[str], pattern: list[str], hover: str) -> Figure:
    shown = {
        "type": "bar",
        "name": plain(series.name),
        "x": x,
        "y": list(series.counts),
        "marker": {
            "color": series.color,
            "line": {"color": "--surface", "width": 1},
            "pattern": {"shape": pattern, "fillmode": "replace", "size": 5, "solidity": 0.6},
        },
        "hovertemplate": f"{hover}<br>%{{y:,}} {plain(series.name)}<extra></extra>",
        "meta": {"link": series.link},
    }
    return shown | ({"customdata": names} if "customdata" in hover else {})


def donut_figure(parts: Sequence[tuple[str, str, int, str]], *, revision: str) -> Figure:
    """Returns a ring of (name, color, count, link), with the total in its middle."""
    total = sum(count for _, _, count, _ in parts)
    ring = {
        "type": "pie",
        "hole": 0.66,
        "labels": [plain(name) for name, _, _, _ in parts],
        "values": [count for _, _, count, _ in parts],
        "marker": {
            "colors": [color for _, color, _, _ in parts],
            "line": {"color": "--surface", "width": 2},
        },
        "meta": {"links": [link for _, _, _, link in parts]},
        "sort": False,
        "direction": "clockwise",
        "textinfo": "none",
        "hovertemplate": "%{label}<br>%{value:,} events (%{percent})<extra></extra>",
    }
    shape = layout(revision, zoomable=False)
    shape["margin"] = {"l": 4, "r": 4, "t": 4, "b": 4}
    shape["annotations"] = [
        in_the_middle(compact(total), 0.53, {"size": 18, "color": "--text", "weight": 600}),
        in_the_middle("events", 0.43, {"size": 12, "color": "--muted"}),
    ]
    return {"data": [ring], "layout": shape}


def in_the_middle(text: str, y: float, font: Figure) -> Figure:
    return {"text": text, "showarrow": False, "x": 0.5, "y": y, "font": font}


def counted(frame: Figure, largest: float) -> Figure:
    """Returns the frame with whole numbers on its axis where there are only a few."""
    if largest < FEW:
        frame["yaxis"] |= {"range": [0, FEW], "dtick": 1}
    return frame


def layout(revision: str, *, zoomable: bool) -> Figure:
    """Returns the frame that all charts share; `revision` keeps a zoom while it is the same."""
    axis = {"fixedrange": not zoomable, "color": "--muted", "automargin": True}
    return {
        "uirevision": revision,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 28},
        "paper_bgcolor": "--surface",
        "plot_bgcolor": "--surface",
        "font": {"family": "Inter, system-ui, sans-serif", "size": 12, "color": "--muted"},
        "showlegend": False,
        "hovermode": "closest" if not zoomable else "x",
        "hoverlabel": {
            "bgcolor": "--tip",
            "bordercolor": "--tip",
            "align": "left",
            "font": {"color": "--tip-text", "size": 12},
        },
        "dragmode": "zoom" if zoomable else False,
        "xaxis": {
            **axis,
            "type": "date",
            "showgrid": False,
            "nticks": 8,
            "tickformatstops": TICKS,
            "ticklabelstandoff": 4,
        },
        "yaxis": {
            **axis,
            "fixedrange": True,
            "gridcolor": "--line",
            "zeroline": False,
            "rangemode": "tozero",
            "nticks": 5,
            "tickformat": "~s",
        },
    }


def sparkline(values: Sequence[float], width: int = 96, height: int = 28) -> dict[str, str]:
    """Returns the SVG paths of a small line and the area below it."""
    top = max(values, default=0) or 1
    step = width / max(1, len(values) - 1)
    points = [
        f"{index * step:.1f} {height - 2 - value / top * (height - 4):.1f}"
        for index, value in enumerate(values)
    ]
    drawn = "M" + "L".join(points) if len(points) > 1 else ""
    area = f"{drawn}L{width} {height}L0 {height}Z" if drawn else ""
    return {"line": drawn, "area": area}
