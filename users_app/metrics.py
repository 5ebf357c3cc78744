"""What Prometheus is told of outbox and mails, asked of the database at each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from flask import Flask
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from users_app.models import db
from users_app.relay import mailer
from users_app.relay.queue import backlog

Answer = TypeVar("Answer")


class OutboxCollector(Collector):
    """`outbox_pending`, `outbox_oldest_age_seconds`, `outbox_dead`; none without a database."""

    def __init__(self, app: Flask) -> None:
        self.app = app

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields the gauges."""
        found = asked(self.app, backlog)
        if found is None:
            return
        yield gauge("outbox_pending", "Messages that wait for analytics", found.pending)
        yield gauge("outbox_oldest_age_seconds", "Age of the oldest of them", found.oldest_age)
        yield gauge("outbox_dead", "Messages that analytics refused", found.dead)


class MailCollector(Collector):
    """`mails_pending`, `mails_oldest_age_seconds`, `mails_dead`, `mail_attempts_total`."""

    def __init__(self, app: Flask) -> None:
        self.app = app

    def collect(self) -> Iterator[Metric]:
        """Yields the gauges and the counter; none without a database."""
        found = asked(self.app, mailer.figures)
        if found is None:
            return
        waiting = found.backlog
        yield gauge("mails_pending", "Mails that wait to be sent", waiting.pending)
        yield gauge("mails_oldest_age_seconds", "Age of the oldest of them", waiting.oldest_age)
        yield gauge("mails_dead", "Mails that were given up", waiting.dead)
        counter = CounterMetricFamily(
            "mail_attempts", "Attempts to send a mail by how they ended", labels=["outcome"]
        )
        for outcome, number in found.attempts.items():
            counter.add_metric([outcome], number)
        yield counter


def asked(app: Flask, question: Callable[[], Answer]) -> Answer | None:
    """Returns what the database answers, or None."""
    with app.app_context():
        try:
            return question()
        except SQLAlchemyError:
            db.session.rollback()
            return None


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
