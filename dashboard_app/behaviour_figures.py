"""The behaviour pages' charts, and the notes that stand on every chart over time."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard_app.charts import Figure, bucket_name, counted, layout, plain
from dashboard_app.clients import Json
from dashboard_app.formats import percent, plural

LONGEST_LABEL = 24


def categories(revision: str) -> Figure:
    """Returns a frame whose x axis has names on it."""
    frame = layout(revision, zoomable=False)
    frame["xaxis"] |= {"type": "category"}
    for name in ("tickformatstops", "nticks"):
        del frame["xaxis"][name]
    frame["bargap"] = 0.35
    return frame


def shortened(name: str) -> str:
    return plain(name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…")


def bars(
    names: Sequence[str], values: Sequence[float], texts: Sequence[str], color: str = "--c1"
) -> Figure:
    """Returns bars; `texts` are what each says when it is pointed at."""
    return {
        "type": "bar",
        "x": list(range(len(names))),
        "y": list(values),
        "hovertext": [plain(each) for each in texts],
        "hoverinfo": "text",
        "marker": {"color": color},
    }


def named_axis(frame: Figure, names: Sequence[str]) -> Figure:
    """Returns the frame with names at 0, 1, 2 …, which may be the same more than once."""
    frame["xaxis"] |= {
        "type": "linear",
        "tickvals": list(range(len(names))),
        "ticktext": [shortened(each) for each in names],
        "range": [-0.6, max(0, len(names) - 1) + 0.6],
        "ticklabeloverflow": "allow",  # a name that needs room gets it, and is not left out
    }
    return frame


def funnel_figure(steps: Sequence[Json], revision: str) -> Figure:
    """Returns a bar for each step, and on it those who stopped before."""
    names = [step["event_type"] for step in steps]
    users = [step["users"] for step in steps]
    reached = [
        f"{step['event_type']}: {plural(step['users'], 'user')}, {percent(step['conversion'])}"
        for step in steps
    ]
    dropped = [step["dropped"] for step in steps]
    stopped = [f"{plural(n, 'user')} stopped before this step" for n in dropped]
    frame = named_axis(categories(revision), names) | {"barmode": "stack"}
    traces = [bars(names, users, reached), bars(names, dropped, stopped, "--c1-soft")]
    return {"data": traces, "layout": counted(frame, max(users, default=0))}


def retention_figure(averages: Sequence[Json], revision: str, unit: str) -> Figure:
    """Returns the average share of those who came back, by period."""
    frame = layout(revision, zoomable=False)
    last = max(1, len(averages) - 1)
    frame["xaxis"] |= {"type": "linear", "tickformat": "d", "range": [-0.2, last + 0.2]}
    frame["xaxis"] |= {"zeroline": False, "dtick": max(1, last // 12)}
    del frame["xaxis"]["tickformatstops"]
    frame["yaxis"] |= {"tickformat": ".0%", "range": [0, 1.04]}
    said = [f"{unit} {each['period']}: {percent(each['share'])} came back" for each in averages]
    line = {
        "type": "scatter",
        "mode": "lines+markers" if len(averages) < 30 else "lines",
        "x": [each["period"] for each in averages],
        "y": [each["share"] for each in averages],
        "hovertext": said,
        "hoverinfo": "text",
        "cliponaxis": False,
        "line": {"color": "--c1", "width": 2},
        "marker": {"color": "--c1", "size": 6},
    }
    return {"data": [line], "layout": frame}


def ranking_figure(rows: Sequence[tuple[str, int, str]], revision: str) -> Figure:
    """Returns bars of (name, count, what it says), the first at the top."""
    names = [name for name, _, _ in rows]
    frame = named_axis(categories(revision), names)
    figure = bars(names, [count for _, count, _ in rows], [said for *_, said in rows])
    largest = max([count for _, count, _ in rows], default=0)
    return {"data": [figure], "layout": counted(frame, largest)}


def live_figure(minutes: Sequence[Json], tz: str) -> Figure:
    """Returns a bar a minute, the one that lasts hatched."""
    names = [bucket_name(each["start"], "minute", tz) for each in minutes]
    counts = [each["count"] for each in minutes]
    said = [
        f"{name}: {plural(each['count'], 'event')}, {plural(each['unique_users'], 'user')}"
        for name, each in zip(names, minutes, strict=True)
    ]
    frame = categories("live")
    frame["bargap"] = 0.2
    figure = bars(names, counts, said)
    shapes = ["" if each["complete"] else "/" for each in minutes]
    figure["marker"] |= {
        "pattern": {"shape": shapes, "fillmode": "replace", "size": 5, "solidity": 0.6}
    }
    frame["xaxis"] |= {
        "type": "linear",
        "tickvals": list(range(0, len(names), 5)),
        "ticktext": [name.split(" ")[-1] for name in names[::5]],
    }
    return {"data": [figure], "layout": counted(frame, max(counts, default=0))}


def annotated(figure: Figure, notes: Sequence[Json], first: str, last: str) -> Figure:
    """Returns a chart over days with a mark for each note on `[first, last]`."""
    inside = [note for note in notes if first <= note["day"] <= last]
    by_day: dict[str, list[str]] = {}
    for note in reversed(inside):
        by_day.setdefault(note["day"], []).append(note["text"])
    shown = figure["layout"]
    shown["shapes"] = [
        {
            "type": "line",
            "xref": "x",
            "yref": "paper",
            "x0": day,
            "x1": day,
            "y0": 0,
            "y1": 1,
            "layer": "below",
            "line": {"color": "--muted", "width": 1, "dash": "dot"},
        }
        for day in by_day
    ]
    shown["annotations"] = [
        {
            "x": day,
            "y": 1,
            "xref": "x",
            "yref": "paper",
            "yanchor": "top",
            "text": "⚑",
            "hovertext": plain("; ".join(texts)),
            "showarrow": False,
            "font": {"size": 14, "color": "--muted"},
        }
        for day, texts in by_day.items()
    ]
    return figure
