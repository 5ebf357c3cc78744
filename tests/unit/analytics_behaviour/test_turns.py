"""While ingest is busy, reports take turns and leave it most of the time."""

from __future__ import annotations

import threading
import time

import pytest

from analytics_app.behaviour.turns import SHARE, Turns
from analytics_app.deadlines import Deadline
from analytics_app.writers import Busyness
from chassis.errors import Unavailable


def compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_without_events_reports_run_side_by_side() -> None:
    turns = Turns(lambda: 0.0)
    both = threading.Barrier(2, timeout=5)

    def report() -> None:
        with turns.turn(Deadline(5)):
            both.wait()

    threads = [threading.Thread(target=report) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not both.broken


def test_under_pressure_a_report_begins_when_the_one_before_has_paid_for_itself() -> None:
    turns = Turns(lambda: 1.0)
    with turns.turn(Deadline(5)):
        compute(0.02)
    ended = time.monotonic()
    with turns.turn(Deadline(5)):
        assert time.monotonic() - ended >= 0.02 * (1 / SHARE - 1) * 0.95


def test_one_that_cannot_begin_in_time_is_told_so_at_once() -> None:
    turns = Turns(lambda: 1.0)
    with turns.turn(Deadline(5)):
        compute(0.05)
    with pytest.raises(Unavailable, match="many events"), turns.turn(Deadline(0.1)):
        pass
    with turns.turn(Deadline(5)):  # and leaves the turn to the next
        pass


def test_a_report_behind_another_waits_no_longer_than_its_deadline() -> None:
    turns = Turns(lambda: 1.0)
    with (
        turns.turn(Deadline(5)),
        pytest.raises(Unavailable),
        turns.turn(Deadline(0.05)),
    ):
        pass


def test_busyness_is_of_the_second_before(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.2]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    busy = Busyness()
    busy.add(0.3)
    busy.add(0.1)
    assert busy.share() == 0
    clock[0] = 101.5
    assert busy.share() == pytest.approx(0.4)
    clock[0] = 103.0
    assert busy.share() == 0
