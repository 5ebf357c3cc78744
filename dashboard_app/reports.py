"""What the overview's panels show, from the analytics service's reports."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dashboard_app import charts, notes
from dashboard_app.cache import ShortCache
from dashboard_app.charts import COLORS, LARGEST_SERIES, OTHER, OTHER_COLOR, Series
from dashboard_app.clients import Json, analytics
from dashboard_app.filters import Filters
from dashboard_app.formats import day_name, parsed, range_name

SIGNUP, FAILURE = "user_registered", "user_login_failed"
RANKING_DAYS = 90
OTHERS = "Other types"
BY_TYPE = "total_events,events_by_type"
OF_ALL_TILES = "count,unique_users,by_type"
rankings: ShortCache[list[str]] = ShortCache(seconds=15)
pulses: ShortCache[str] = ShortCache(seconds=1)


@dataclass(frozen=True, slots=True)
class Metric:
    """What a tile counts: its key in the address, its name, the event type, the field."""

    key: str
    label: str
    unit: str
    event_type: str | None = None
    field: str = "count"
    more_is_good: bool = True


METRICS = (
    Metric("users", "Active users", "active users", field="unique_users"),
    Metric("events", "Events", "events"),
    Metric("signups", "Sign-ups", "sign-ups", SIGNUP),
    Metric("failures", "Failed sign-ins", "failed sign-ins", FAILURE, more_is_good=False),
)


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure with what it was before and its small line."""

    metric: Metric
    value: int
    previous: int | None
    spark: Mapping[str, str]

    @property
    def change(self) -> float | None:
        """The relative change, 0.0 for hardly any; None when there is nothing to compare."""
        if not self.previous:
            return None
        change = (self.value - self.previous) / self.previous
        return 0.0 if abs(change) < 0.0005 else change

    @property
    def tone(self) -> str:
        """`good`, `bad` or `even`: more is not always good."""
        if not self.change:
            return "even"
        return "good" if (self.change > 0) == self.metric.more_is_good else "bad"


@dataclass(frozen=True, slots=True)
class Row:
    """One bucket as the table behind a chart shows it."""

    name: str
    value: int
    previous_name: str | None
    previous: int | None
    complete: bool


def metrics_for(filters: Filters) -> tuple[Metric, ...]:
    """Returns what can be charted: under a filter only that type's events and their users."""
    if not filters.event_type:
        return METRICS
    chosen = filters.event_type
    return (
        Metric("users", "Active users", "active users", chosen, "unique_users"),
        Metric("events", "Events", "events", chosen),
    )


def metric_for(filters: Filters) -> Metric:
    """Returns the metric of the address, or the first that can be charted."""
    offered = metrics_for(filters)
    return next((each for each in offered if each.key == filters.metric), offered[0])


def timeseries(
    bounds: Mapping[str, str],
    interval: str,
    event_type: str | list[str] | None = None,
    fields: str = "count",
) -> list[Json]:
    """Returns the buckets of a range; counting different users costs more than all the rest."""
    params: dict[str, Any] = {**bounds, "interval": interval, "fields": f"start,complete,{fields}"}
    if event_type:
        params["event_type"] = event_type
    return analytics().timeseries(params)


def summary(bounds: Mapping[str, str], fields: str) -> Json:
    """Returns only these figures of a range."""
    return analytics().summary({**bounds, "fields": fields})


def values_of(buckets: Sequence[Json], metric: Metric) -> list[int]:
    return [value_of(each, metric) for each in buckets]


def value_of(bucket: Json, metric: Metric) -> int:
    """Returns what the metric counts of a bucket."""
    found: int = bucket[metric.field]
    if metric.event_type and metric.field == "count" and "by_type" in bucket:
        found = bucket["by_type"].get(metric.event_type, 0)
    return found


def totals(bounds: Mapping[str, str], filters: Filters) -> dict[str, int]:
    """Returns each offered metric's figure over a range."""
    if not filters.event_type:
        return totals_of(summary(bounds, "total_events,unique_users,events_by_type"), bounds)
    items = analytics().by_type({**bounds, "event_type": filters.event_type})["items"]
    found = items[0] if items else {"count": 0, "unique_users": 0}
    return {"users": found["unique_users"], "events": found["count"]}


def totals_of(summary: Json, bounds: Mapping[str, str]) -> dict[str, int]:
    by_type = summary["events_by_type"]
    if not_listed(summary):  # those of the tiles may be among the rest
        items = analytics().by_type({**bounds, "event_type": [SIGNUP, FAILURE]})["items"]
        by_type = {each["event_type"]: each["count"] for each in items}
    return {
        "users": summary["unique_users"],
        "events": summary["total_events"],
        "signups": by_type.get(SIGNUP, 0),
        "failures": by_type.get(FAILURE, 0),
    }


def not_listed(summary: Json) -> int:
    """Returns how many events are of types that the summary doesn't name."""
    rest: int = summary["total_events"] - sum(summary["events_by_type"].values())
    return rest


def tiles_series(filters: Filters, bounds: Mapping[str, str]) -> list[Json]:
    """Returns the buckets with all that the tiles need; of types, theirs for certain."""
    buckets = timeseries(bounds, filters.interval, filters.event_type, OF_ALL_TILES)
    if any(each["other"] for each in buckets):
        own = timeseries(bounds, filters.interval, [SIGNUP, FAILURE], "by_type")
        return [
            {**all_, "by_type": each["by_type"]} for all_, each in zip(buckets, own, strict=True)
        ]
    return buckets


def trend(filters: Filters, now: datetime) -> dict[str, Any]:
    """Returns the tiles, the line of the chosen metric with its comparison, and its table."""
    bounds, chosen = filters.bounds(), metric_for(filters)
    before = filters.previous_bounds(now) if filters.compare else None
    figures = totals(bounds, filters)
    earlier = totals(before, filters) if before else {}
    buckets = tiles_series(filters, bounds)
    begun = charts.begun(buckets, now)
    tiles = [
        Tile(
            each,
            figures[each.key],
            earlier.get(each.key),
            charts.sparkline(values_of(begun, each)),
        )
        for each in metrics_for(filters)
    ]
    return {"tiles": tiles, "chosen": chosen} | line(filters, chosen, buckets, before, now)


def line(
    filters: Filters,
    metric: Metric,
    buckets: list[Json],
    before: Mapping[str, str] | None,
    now: datetime,
) -> dict[str, Any]:
    earlier = (
        timeseries(before, filters.interval, metric.event_type, metric.field) if before else []
    )

    def name(bucket: Json) -> str:
        return charts.bucket_name(bucket["start"], filters.interval, filters.tz)

    previous = [(name(each), value_of(each, metric)) for each in earlier]
    figure = charts.trend_figure(
        buckets,
        values_of(buckets, metric),
        previous,
        interval=filters.interval,
        tz=filters.tz,
        now=now,
        label=metric.unit,
        revision=revision(filters, metric.key),
        links=zooms(filters, buckets),
    )
    figure = notes.on(figure, filters)
    return {"figure": figure, "rows": rows(charts.begun(buckets, now), previous, metric, name)}


def rows(
    buckets: Sequence[Json],
    previous: Sequence[tuple[str, int]],
    metric: Metric,
    name: Callable[[Json], str],
) -> list[Row]:
    named: list[tuple[str | None, int | None]] = [*previous[: len(buckets)]]
    named += [(None, None)] * (len(buckets) - len(named))
    return [
        Row(name(each), value_of(each, metric), *earlier, complete=each["complete"])
        for each, earlier in zip(buckets, named, strict=True)
    ]


def revision(filters: Filters, what: str) -> str:
    """Names what is charted, so that a zoom survives new numbers and nothing else."""
    return f"{filters.first}{filters.last}{filters.interval}{filters.tz}{filters.event_type}{what}"


def legend(filters: Filters) -> dict[str, str | None]:
    """Returns how the two lines' ranges are called."""
    if not filters.compare:
        return {"now": range_name(filters.first, filters.last), "before": None}
    first, last = filters.first - filters.shift, filters.last - filters.shift
    return {
        "now": range_name(filters.first, filters.last),
        "before": f"{day_name(first, year=False)} – {day_name(last, year=False)}"
        if first != last
        else day_name(first, year=False),
    }


def ranking(filters: Filters) -> list[str]:
    """Returns event types, the most frequent of the last months first: colors go by this."""
    last = datetime.now(UTC).astimezone(ZoneInfo(filters.default_tz)).date() + timedelta(days=1)
    bounds = {
        "start": (last - timedelta(days=RANKING_DAYS)).isoformat(),
        "end": last.isoformat(),
        "tz": filters.default_tz,
    }
    return rankings.get(
        last.isoformat(), lambda: ranked(summary(bounds, BY_TYPE)["events_by_type"])
    )


def ranked(counts: Mapping[str, int]) -> list[str]:
    return sorted(counts, key=lambda name: (-counts[name], name))


def colors(shown: Sequence[str], ranking: Sequence[str]) -> dict[str, str]:
    """Returns a color for each type shown; the most frequent types have theirs everywhere."""
    own = {name: COLORS[i] for i, name in enumerate(ranking[:LARGEST_SERIES])}
    taken = {own[name] for name in shown if name in own}
    free = iter([color for color in COLORS if color not in taken])
    return {name: own.get(name) or next(free, OTHER_COLOR) for name in shown}


def lasting_colors(ranking: Sequence[str]) -> dict[str, str]:
    """Returns the colors of the most frequent types, for tables that show any."""
    return dict(zip(ranking, COLORS, strict=False))


@dataclass(frozen=True, slots=True)
class Part:
    """One event type's share of all events; `link` filters by it."""

    name: str
    color: str
    count: int
    share: float
    link: str


def types(filters: Filters) -> dict[str, Any]:
    """Returns the shares by event type: the ring shows the six largest and the rest.

    Types that the summary doesn't name are one part, without a link.
    """
    found = summary(filters.bounds(), BY_TYPE)
    counts, total = found["events_by_type"], found["total_events"]
    names = ranked(counts)
    named = colors(names[:LARGEST_SERIES], ranking(filters))
    parts = [
        Part(
            name=name,
            color=named.get(name, OTHER_COLOR),
            count=counts[name],
            share=counts[name] / total,
            link=filters.link(event_type=name),
        )
        for name in names
    ]
    if other := not_listed(found):
        parts.append(Part(OTHERS, OTHER_COLOR, other, other / total, ""))
    ring = [(each.name, each.color, each.count, each.link) for each in parts[:LARGEST_SERIES]]
    if rest := sum(each.count for each in parts[LARGEST_SERIES:]):
        ring.append((OTHER, OTHER_COLOR, rest, ""))
    figure = charts.donut_figure(ring, revision=revision(filters, "types"))
    return {"parts": parts, "total": total, "figure": figure}


def bars(filters: Filters) -> dict[str, Any]:
    """Returns counts over time stacked by event type: the six largest and the rest."""
    bounds, interval = filters.bounds(), filters.bars_interval
    buckets = timeseries(bounds, interval, filters.event_type, "count,by_type")
    counts = sum((Counter(each["by_type"]) for each in buckets), Counter[str]())
    items = [filters.event_type] if filters.event_type else ranked(counts)
    named = colors(items[:LARGEST_SERIES], ranking(filters))
    series = [
        Series(
            name,
            color,
            [each["by_type"].get(name, 0) for each in buckets],
            filters.link(event_type=name),
        )
        for name, color in named.items()
    ]
    if len(items) > LARGEST_SERIES:
        series.append(Series(OTHER, OTHER_COLOR, remainder(buckets, series)))
    figure = charts.bars_figure(
        buckets, series, interval=interval, tz=filters.tz, revision=revision(filters, "bars")
    )
    names = [charts.bucket_name(each["start"], interval, filters.tz) for each in buckets]
    table = list(zip(names, zip(*(one.counts for one in series), strict=True), strict=False))
    figure = notes.on(figure, filters)
    return {"figure": figure, "series": series, "table": table, "interval": interval}


def remainder(whole: Sequence[Json], series: Sequence[Series]) -> list[float]:
    shown = [sum(each) for each in zip(*(one.counts for one in series), strict=True)]
    return [each["count"] - known for each, known in zip(whole, shown, strict=True)]


def pulse(filters: Filters) -> str:
    """Returns `<active people>.<digest of the figures>`: it changes when the numbers do."""
    key = json.dumps(filters.query())
    return pulses.get(key, lambda: f"{analytics().live()['active_users']}.{digest(filters)}")


def digest(filters: Filters) -> str:
    figures = summary(filters.bounds(), BY_TYPE)
    figures = {name: figures[name] for name in BY_TYPE.split(",")}
    return hashlib.sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()[:12]


def zooms(filters: Filters, buckets: Sequence[Json]) -> charts.Links | None:
    """Returns where a click on a bucket zooms to; days share one link, to keep figures small."""
    if filters.interval == "hour":
        return None
    if filters.interval == "day":
        first = filters.first
        return filters.for_days(first, first).replace(first.isoformat(), "DAY")
    return [zoom(filters, each["start"], filters.interval) for each in buckets]


def zoom(filters: Filters, start: str, interval: str) -> str:
    first = parsed(start).astimezone(ZoneInfo(filters.tz)).date()
    length = {"week": 7, "month": 31}.get(interval, 1)
    last = first + timedelta(days=length - 1)
    if interval == "month":
        last = (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    return filters.for_days(max(first, filters.first), min(last, filters.last))
