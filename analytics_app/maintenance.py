"""Maintenance, as a loop of its own: safe to run twice, safe to miss for days."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime, timedelta
from threading import Event as Flag
from threading import Thread

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine

from analytics_app import (
    admission,
    dialects,
    engines,
    event_types,
    retention,
    slots,
    sweeping,
    zone_switch,
)
from analytics_app.behaviour import sealing
from analytics_app.config import AnalyticsSettings
from analytics_app.zones import date_of
from chassis.heartbeat import Heartbeat
from chassis.telemetry import get_logger

PAUSE_SECONDS = 60
SEALING_SECONDS = 20
SWEEP_EVERY_SECONDS = 1.0
SWEEP_GRACE_SECONDS = 5.0
AHEAD = (timedelta(), timedelta(days=3), timedelta(days=31), timedelta(days=62))
log = get_logger(__name__)


def run_for_ever(db: SQLAlchemy, settings: AnalyticsSettings) -> None:
    """Runs rounds until SIGTERM or SIGINT; a round that fails is tried again."""
    stop = Flag()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    log.info("maintenance started")
    sweeper = Thread(
        target=sweep_for_ever, args=(engines.for_erasures(db), stop), name="erasures", daemon=True
    )
    sweeper.start()
    heart = Heartbeat("maintenance", settings.liveness_dir)
    while not stop.is_set():
        heart.beat()
        try:
            run_round(db, settings, datetime.now(UTC))
        except Exception as error:
            log.error("maintenance failed", exc_info=error)
        finally:
            db.session.remove()
        stop.wait(PAUSE_SECONDS)
    sweeper.join(SWEEP_GRACE_SECONDS)
    log.info("maintenance stopped")


def sweep_for_ever(engine: Engine, stop: Flag) -> None:
    """Deletes what open erasures hold, beside the rounds: they may take their time."""
    while not stop.is_set():
        try:
            sweeping.sweep(engine, stop)
            event_types.sweep(engine, stop)
        except Exception as error:
            log.error("erasing failed", exc_info=error)
        stop.wait(SWEEP_EVERY_SECONDS)


def run_round(db: SQLAlchemy, settings: AnalyticsSettings, moment: datetime) -> None:
    """Does whatever is due: zone, partitions, slots, retention, sealed days."""
    zone_switch.keep_days_in(db, settings.reporting_timezone)
    dialects.of(db.engine).prepare_partitions(db.engine, [moment + ahead for ahead in AHEAD])
    slots.fold(db, moment)
    event_types.adopt(engines.for_erasures(db))
    event_types.free_unused(engines.for_erasures(db))
    admission.forget_former_days(engines.for_erasures(db), moment)
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
