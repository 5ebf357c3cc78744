"""What Prometheus sees of this service: events by result, their lag, and how its tables are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from flask import Flask
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError

from analytics_app import dialects
from analytics_app.engines import REPLICA
from analytics_app.erased import IS_OPEN
from analytics_app.models import Bookkeeping, Count, DayCount, Erasure, db
from chassis.telemetry import metrics_registry

RESULTS = ("accepted", "duplicate", "rejected", "erased")
# Seconds, 0.1 to an hour; 60 is where the alert on the lag begins, so it has an edge there.
LAGS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0)


class Results:
    """Counts events by what became of them, and measures how late delivered ones are."""

    def __init__(self) -> None:
        self.by_name: dict[str, Any] = {}
        self.lag: Any = None

    def begin(self, app: Flask) -> None:
        """Registers with the app's metrics, once it has them."""
        counter = Counter(
            "analytics_events",
            "Events by result.",
            ["result"],
            registry=metrics_registry(app),
        )
        self.by_name = {name: counter.labels(name) for name in RESULTS}
        self.lag = Histogram(
            "analytics_delivery_lag_seconds",
            "Time from an event of the users service until it was stored, in seconds.",
            buckets=LAGS,
            registry=metrics_registry(app),
        )

    def add(self, result: str, n: int = 1) -> None:
        """Counts n events with the result."""
        if n:
            self.by_name[result].inc(n)

    def delivered(self, moments: Iterable[datetime]) -> None:
        """Measures the lag of events that have just been stored, by when each happened."""
        now = datetime.now(UTC)
        for moment in moments:
            # The sender's clock may be ahead of this one, and nothing arrives before it happens.
            self.lag.observe(max(0.0, (now - moment).total_seconds()))


class TableHealth(Collector):
    """Asks, when scraped, how far partitions reach ahead and what maintenance has left."""

    def __init__(self, app: Flask) -> None:
        self.app = app

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields the gauges; none while the database is down, which /health says."""
        try:
            with self.app.app_context():
                found = self.figures()
        except SQLAlchemyError:
            return
        for name, (text, value) in found.items():
            yield GaugeMetricFamily(f"analytics_{name}", text, value=value)

    def figures(self) -> dict[str, tuple[str, float]]:
        dialect = dialects.of(db.engine)
        kept = dialect.KEPT_SLOT
        with db.engine.connect() as connection:
            age = oldest_erasure(connection)
            partitions, ahead = dialect.partition_health(connection)
            ready = connection.execute(select(Bookkeeping.days_ready)).scalar_one()
            spread = [
                connection.execute(select(func.count()).where(table.slot != kept)).scalar_one()
                for table in (Count, DayCount)
            ]
        return {
            "partitions": ("Partitions of events.", partitions),
            "partitions_ahead_seconds": ("How far partitions reach beyond now.", ahead),
            "daily_counts_ready": ("Whether daily counts are in the reporting zone.", ready),
            "unfolded_slots": ("Rows of counts that maintenance has not folded yet.", sum(spread)),
            "oldest_erasure_seconds": ("Age of the oldest erasure that is not done yet.", age),
        }


class ReplicaHealth(Collector):
    """Asks the replica, when scraped, whether it follows: reports pass over one that is gone."""

    def __init__(self, app: Flask) -> None:
        self.app = app

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields the gauge; 0 for a replica that doesn't answer, too."""
        text = "Whether the replica answers and receives what its primary writes."
        yield GaugeMetricFamily("analytics_replica_follows", text, value=self.follows())

    def follows(self) -> bool:
        try:
            with self.app.app_context(), db.engines[REPLICA].connect() as connection:
                return bool(dialects.of(connection.engine).follows(connection))
        except SQLAlchemyError:
            return False


def oldest_erasure(connection: Connection) -> float:
    """Returns the age in seconds of the oldest open erasure, 0 without one."""
    requested = connection.scalar(select(func.min(Erasure.requested_at)).where(IS_OPEN))
    return max(0.0, (datetime.now(UTC) - requested).total_seconds()) if requested else 0.0
