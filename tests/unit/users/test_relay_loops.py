"""The relay's loops: what ends them, and what does not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from chassis import database
from chassis.database import transaction
from tests.unit.users.conftest import MakeApp, Person
from tests.unit.users.mailbox import mails
from tests.unit.users.receiver import StandIn
from users_app import clock, outbox, relay
from users_app.models import SignInFailures, db
from users_app.relay import housekeeping, queue
from users_app.relay.senders import Senders


class Rounds(Event):
    """Is set after so many waits: a loop that waits ends soon."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.left = rounds

    def wait(self, timeout: float | None = None) -> bool:
        self.left -= 1
        if self.left <= 0:
            self.set()
        return self.is_set()


def failing_once(error: Exception, then: Any) -> Any:
    """Returns a function that raises at its first call, and does `then` afterwards."""
    failures = [error]

    def call(*given: Any) -> Any:
        if failures:
            raise failures.pop()
        return then(*given)

    return call


@pytest.mark.parametrize(
    "error", [OperationalError("SELECT", {}, Exception("gone")), KeyError("a bug")]
)
def test_an_error_ends_no_loop(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    analytics = StandIn()
    app = make_app(analytics_url=analytics.url, mail_dir=str(tmp_path))
    ada = Person(app.test_client(), "ada")
    ada.client.post("/password-reset", json={"email": "ada@example.com"})
    with app.app_context(), transaction(db.session):
        outbox.put_erasure(7, by="self")
    for name in ("deliver_some", "erase_some"):
        monkeypatch.setattr(queue, name, failing_once(error, getattr(queue, name)))
    monkeypatch.setattr(Senders, "work", failing_once(error, Senders.work))
    relay.event_loop(app, Rounds(3))
    relay.erasure_loop(app, Rounds(3))
    relay.mail_loop(app, Rounds(3))
    analytics.close()
    assert len(analytics.stored) == 2
    assert analytics.erased == [7]
    assert len(mails(tmp_path)) == 1


def test_a_loop_that_is_told_to_stop_does_nothing_more(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("told to stop")

    for module, name in (
        (queue, "deliver_some"),
        (queue, "erase_some"),
        (Senders, "work"),
    ):
        monkeypatch.setattr(module, name, refuse)
    stop = Event()
    stop.set()
    relay.event_loop(app, stop)
    relay.erasure_loop(app, stop)
    relay.mail_loop(app, stop)


def test_what_has_expired_is_removed_now_and_then(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    removals: list[int] = []
    monkeypatch.setattr(housekeeping, "remove_expired", lambda: removals.append(1))
    rounds = int(relay.HOUSEKEEPING_SECONDS / relay.IDLE_SECONDS) + 10
    monkeypatch.setattr(Senders, "work", lambda _: 0)
    relay.mail_loop(app, Rounds(rounds))
    assert len(removals) == 2


def test_what_has_expired_goes_slice_by_slice_and_what_went_is_gone(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attack leaves millions of failures; all in one statement would time out each time."""
    monkeypatch.setattr(database, "SLICE_ROWS", 2)
    long_ago = clock.now() - timedelta(days=1)

    def left() -> int:
        found = db.session.scalar(select(func.count()).select_from(SignInFailures))
        db.session.rollback()
        return found or 0

    with app.app_context():
        with transaction(db.session):
            db.session.add_all(
                SignInFailures(key=str(n), failures=1, window_ends=long_ago) for n in range(7)
            )
        real, slices = housekeeping.rows, []

        def broken(statement: Any) -> int:
            slices.append(statement)
            if len(slices) == 7:  # the others before have nothing to remove
                raise OperationalError("", {}, Exception("canceling statement"))
            return real(statement)

        monkeypatch.setattr(housekeeping, "rows", broken)
        with pytest.raises(OperationalError):
            housekeeping.remove_expired()
        assert left() == 3
        assert housekeeping.remove_expired() == 3
        assert left() == 0
