"""The relay, a process of its own: claim -> deliver => analytics -> settle; and the mails.

Safe to run twice: a claim is a lease, and whatever is delivered twice is counted once.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from threading import Event, Thread
from types import FrameType

from flask import Flask

from chassis.heartbeat import Heartbeat
from chassis.telemetry import get_logger
from users_app.models import db
from users_app.relay import housekeeping, queue
from users_app.relay.backoff import Backoff
from users_app.relay.receiver import Receiver
from users_app.relay.senders import Senders

IDLE_SECONDS = 0.25
PAUSE_AFTER_ERROR_SECONDS = 1.0
HOUSEKEEPING_SECONDS = 600.0
GRACE_SECONDS = 2.0
# With what the events may take meanwhile, within the ten seconds that containers are given.
MAIL_GRACE_SECONDS = 6.0
log = get_logger(__name__)


def run(app: Flask) -> None:
    """Delivers until SIGTERM or SIGINT; what is under way is finished first."""
    stop = Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    mails = Thread(target=mail_loop, args=(app, stop), name="mails", daemon=True)
    mails.start()
    # Beside the events: one that takes long keeps none of them waiting.
    erasures = Thread(target=erasure_loop, args=(app, stop), name="erasures", daemon=True)
    erasures.start()
    log.info("relay started", receiver=app.extensions["users"].settings.analytics_url)
    event_loop(app, stop)
    mails.join(MAIL_GRACE_SECONDS + GRACE_SECONDS)
    erasures.join(GRACE_SECONDS)
    log.info("relay stopped")


def event_loop(app: Flask, stop: Event) -> None:
    """Claims events, delivers and settles them, for ever; backs off from a sick analytics."""
    heart = Heartbeat("relay", app.extensions["users"].settings.liveness_dir)

    def deliver(receiver: Receiver) -> queue.Outcome | None:
        heart.beat()
        return queue.deliver_some(receiver)

    delivery_loop(app, stop, deliver)


def erasure_loop(app: Flask, stop: Event) -> None:
    """The same with erasures, one at a time."""
    delivery_loop(app, stop, queue.erase_some)


def delivery_loop(
    app: Flask, stop: Event, deliver: Callable[[Receiver], queue.Outcome | None]
) -> None:
    with app.app_context():
        receiver = Receiver(app.extensions["users"].settings.analytics_url)
        backoff = Backoff(receiver, stop)
        while not stop.is_set():
            try:
                outcome = deliver(receiver)
            except Exception as error:  # the next round may work: nothing ends the relay
                survive(error, stop)
                continue
            if outcome is None:
                stop.wait(IDLE_SECONDS)
            else:
                backoff.after(outcome.trouble)


def mail_loop(app: Flask, stop: Event) -> None:
    """Sends what is due, and now and then removes what has expired."""
    with app.app_context():
        senders = Senders(app)
        tidy_in = 0.0
        while not stop.is_set():
            try:
                busy = senders.work()
                if tidy_in <= 0:
                    housekeeping.remove_expired()
                    tidy_in = HOUSEKEEPING_SECONDS
            except Exception as error:
                survive(error, stop)
                continue
            if not busy:
                stop.wait(IDLE_SECONDS)
                tidy_in -= IDLE_SECONDS
        senders.finish(MAIL_GRACE_SECONDS)


def survive(error: Exception, stop: Event) -> None:
    """Notes what went wrong (mostly: the database is away) and waits a second."""
    db.session.rollback()
    log.error("a round of the relay failed", error=type(error).__name__, exc_info=error)
    stop.wait(PAUSE_AFTER_ERROR_SECONDS)
