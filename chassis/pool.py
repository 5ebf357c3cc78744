"""How many database connections an app holds, and who waited for one in vain."""

from __future__ import annotations

from typing import Any

from flask import Flask
from prometheus_client import Counter, Gauge
from sqlalchemy import Engine, event
from sqlalchemy.pool import QueuePool

from chassis.telemetry import metrics_registry


class PoolMetrics:
    """Counts the connections of an app's pools, over all of its workers."""

    def __init__(self, app: Flask) -> None:
        registry = metrics_registry(app)
        self.in_use = Gauge(
            "database_pool_connections_in_use",
            "Connections that are at work.",
            ["pool"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.size = Gauge(
            "database_pool_size",
            "Connections that may be open at once.",
            ["pool"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.timeouts = Counter(
            "database_pool_timeouts",
            "Requests that waited for a connection in vain.",
            registry=registry,
        )

    def watch(self, name: str, engine: Engine) -> None:
        """Follows one engine's pool; SQLite has none to follow."""
        if not isinstance(engine.pool, QueuePool) or engine.dialect.name == "sqlite":
            return
        used = self.in_use.labels(name)
        used.set(0)
        self.size.labels(name).set(engine.pool.size())
        event.listen(engine, "checkout", lambda *_: used.inc())
        event.listen(engine, "checkin", lambda *_: used.dec())


def install(app: Flask, engines: dict[str | None, Any]) -> PoolMetrics:
    """Watches each engine under its bind's name, the default one as `main`."""
    metrics = PoolMetrics(app)
    for name, engine in engines.items():
        metrics.watch(name or "main", engine)
    return metrics
