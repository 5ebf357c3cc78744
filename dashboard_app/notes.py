"""The notes on the days of a chart, for every chart over time."""

from __future__ import annotations

from datetime import timedelta

from dashboard_app.behaviour_figures import annotated
from dashboard_app.cache import ShortCache
from dashboard_app.charts import Figure
from dashboard_app.clients import Json, analytics
from dashboard_app.filters import Filters

MOST = "100"
kept: ShortCache[list[Json]] = ShortCache(5)


def on(figure: Figure, filters: Filters) -> Figure:
    """Returns the chart of the range with its notes."""
    first, last = filters.first.isoformat(), filters.last.isoformat()
    after = (filters.last + timedelta(days=1)).isoformat()
    asked = {"start": first, "end": after, "limit": MOST}
    found = kept.get(first + last, lambda: analytics().annotations(asked)["items"])
    return annotated(figure, found, first, last)


def forget() -> None:
    """Forgets what was read, after a change."""
    kept.values.clear()
