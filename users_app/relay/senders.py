"""Mails under way: several at a time, so that a slow mail server holds up a few and no more."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from email.errors import MessageError
from email.message import EmailMessage
from threading import Thread

from flask import Flask

from chassis.telemetry import get_logger
from users_app.models import Mail, db
from users_app.relay import mailer, smtp
from users_app.relay.letters import letter
from users_app.relay.smtp import Conversation, Failure

MAX_UNDER_WAY = 5
RENEW_SECONDS = mailer.LEASE.total_seconds() / 4
# Longer than all answers together may usefully take: a server that dribbles is broken off.
MAX_SECONDS = 3600.0
POLL_SECONDS = 0.05
log = get_logger(__name__)


@dataclass(slots=True)
class Attempt:
    """One mail on its way; the thread talks to the mail server and to nothing else."""

    mail: Mail
    message: EmailMessage
    begun: float = field(default_factory=time.monotonic)
    thread: Thread | None = None
    server: Conversation | None = None
    failure: Failure | None = None

    def start(self, app: Flask) -> None:
        """Begins. A daemon: an answer that may take ten minutes can't hold up the end."""
        self.thread = Thread(target=self.run, args=(app,), name="mail", daemon=True)
        self.thread.start()

    def run(self, app: Flask) -> None:
        with app.app_context():
            try:
                self.failure = mailer.deliver(self.message, self.mail, self.connected)
            except Exception as error:  # what no one foresaw leaves open whether the mail went
                log.error("a mail failed unforeseen", error=type(error).__name__, exc_info=error)
                self.failure = Failure(smtp.UNANSWERED, type(error).__name__)

    def connected(self, server: Conversation) -> None:
        self.server = server

    @property
    def is_over(self) -> bool:
        """Whether the thread has ended; a conversation without end is broken off meanwhile."""
        if self.server and time.monotonic() - self.begun > MAX_SECONDS:
            self.server.break_off()
        return self.thread is None or not self.thread.is_alive()


class Senders:
    """Claims, sends and settles; only this object's own thread asks the database."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.under_way: list[Attempt] = []
        self.renewed = time.monotonic()

    def work(self) -> int:
        """Settles what is over and begins what is due; returns how many of both."""
        over = self.settle()
        self.renew()
        return over + self.begin()

    def settle(self) -> int:
        """Settles what is over; what can't be stored now is settled in the next round."""
        over = [each for each in self.under_way if each.is_over]
        for attempt in over:
            mailer.settle(attempt.mail, attempt.failure)
            self.under_way.remove(attempt)
        return len(over)

    def renew(self) -> None:
        if self.under_way and time.monotonic() - self.renewed > RENEW_SECONDS:
            mailer.renew([each.mail for each in self.under_way])
            self.renewed = time.monotonic()

    def begin(self) -> int:
        free = MAX_UNDER_WAY - len(self.under_way)
        claimed = mailer.claim(free) if free else []
        for mail in claimed:
            self.begin_one(mail)
        # No connection is held while the server is waited for.
        db.session.rollback()
        return len(claimed)

    def begin_one(self, mail: Mail) -> None:
        try:
            message = letter(mail)
        except (ValueError, LookupError, MessageError) as error:
            mailer.bury(mail, smtp.judged(error, handed_over=False))
            return
        if message is None:
            mailer.drop(mail)
            return
        attempt = Attempt(mail, message)
        self.under_way.append(attempt)
        attempt.start(self.app)

    def finish(self, seconds: float) -> None:
        """Waits a while for what is under way; what isn't answered by then is sent again.

        Whether the server has taken it can't be known: a second copy, with the same
        Message-ID and a code that holds, is better than none.
        """
        until = time.monotonic() + seconds
        while self.under_way and time.monotonic() < until:
            if not self.settle():
                time.sleep(POLL_SECONDS)
        if self.under_way:
            left = len(self.under_way)
            log.warning("mails unanswered at the end: they will be sent again", count=left)
