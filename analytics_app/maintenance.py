"""Maintenance, as a loop of its own: safe to run twice, safe to miss for days."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime, timedelta
from threading import Event as Flag

from flask_sqlalchemy import SQLAlchemy

from analytics_app import dialects, retention, slots, zone_switch
from analytics_app.behaviour import sealing
from analytics_app.config import AnalyticsSettings
from analytics_app.zones import date_of
from chassis.heartbeat import beat
from chassis.telemetry import get_logger

PAUSE_SECONDS = 60
SEALING_SECONDS = 20
AHEAD = (timedelta(), timedelta(days=3), timedelta(days=31), timedelta(days=62))
log = get_logger(__name__)


def run_for_ever(db: SQLAlchemy, settings: AnalyticsSettings) -> None:
    """Runs rounds until SIGTERM or SIGINT; a round that fails is tried again."""
    stop = Flag()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    log.info("maintenance started")
    while not stop.is_set():
        beat("maintenance")
        try:
            run_round(db, settings, datetime.now(UTC))
        except Exception as error:
            log.error("maintenance failed", exc_info=error)
        finally:
            db.session.remove()
        stop.wait(PAUSE_SECONDS)
    log.info("maintenance stopped")


def run_round(db: SQLAlchemy, settings: AnalyticsSettings, moment: datetime) -> None:
    """Does whatever is due: zone, partitions, slots, retention, sealed days."""
    zone_switch.keep_days_in(db, settings.reporting_timezone)
    dialects.of(db.engine).prepare_partitions(db.engine, [moment + ahead for ahead in AHEAD])
    slots.fold(db, moment)
    if settings.retention_days:
        dropped = retention.drop(db, moment - timedelta(days=settings.retention_days))
        if dropped.before:
            log.info("retention", dropped_before=dropped.before.isoformat(), events=dropped.events)
    seal(db, moment)


def seal(db: SQLAlchemy, moment: datetime) -> None:
    """Seals closed days for a while; what is left over is the next round's."""
    until = time.monotonic() + SEALING_SECONDS
    days = sealing.seal_due(db, moment)
    while time.monotonic() < until and (day := next(days, None)) is not None:
        log.info("sealed", day=date_of(day).isoformat())
