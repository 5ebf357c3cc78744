"""What Prometheus is told of the outbox, asked of the database at each scrape."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Flask
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from users_app.models import db
from users_app.relay.queue import Backlog, backlog


class OutboxCollector(Collector):
    """`outbox_pending`, `outbox_oldest_age_seconds`, `outbox_dead`; none without a database."""

    def __init__(self, app: Flask) -> None:
        self.app = app

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields the gauges."""
        found = self.backlog()
        if found is None:
            return
        yield gauge("outbox_pending", "Messages that wait for analytics", found.pending)
        yield gauge("outbox_oldest_age_seconds", "Age of the oldest of them", found.oldest_age)
        yield gauge("outbox_dead", "Messages that analytics refused", found.dead)

    def backlog(self) -> Backlog | None:
        with self.app.app_context():
            try:
                return backlog()
            except SQLAlchemyError:
                db.session.rollback()
                return None


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
