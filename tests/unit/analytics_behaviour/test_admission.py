"""Reports wait for their places; while ingest is busy they leave it most of the time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError

from analytics_app.behaviour.admission import (
    LOOK_SECONDS,
    MAX_WAITING,
    SHARE,
    AdmissionControl,
    Computation,
)
from analytics_app.deadlines import Deadline
from analytics_app.services import services_in
from analytics_app.writers import Busyness
from chassis.errors import FieldError, Invalid, Problem, TooManyRequests, Unavailable
from chassis.patience import Silence
from tests.servers import BUSY_SECONDS, wait_until
from tests.stand_ins import replace_in
from tests.unit.analytics.conftest import Api
from tests.unit.analytics_behaviour.test_timeouts import REPORTS


def compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_without_events_reports_run_side_by_side() -> None:
    control = AdmissionControl(lambda: 0.0, 2)
    both = threading.Barrier(2, timeout=5)

    def report() -> None:
        with control.turn(Deadline(5)):
            both.wait()

    threads = [threading.Thread(target=report) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not both.broken


def test_under_pressure_a_report_begins_when_the_one_before_has_paid_for_itself() -> None:
    control = AdmissionControl(lambda: 1.0, 2)
    with control.turn(Deadline(5)):
        compute(0.02)
    ended = time.monotonic()
    with control.turn(Deadline(5)):
        assert time.monotonic() - ended >= 0.02 * (1 / SHARE - 1) * 0.95


def test_one_that_cannot_begin_in_time_is_told_so_at_once() -> None:
    control = AdmissionControl(lambda: 1.0, 2)
    with control.turn(Deadline(5)):
        compute(0.05)
    with pytest.raises(Unavailable, match="many events"), control.turn(Deadline(0.1)):
        pass
    with control.turn(Deadline(5)):  # and leaves the turn to the next
        pass


def test_a_report_behind_another_waits_no_longer_than_its_deadline() -> None:
    control = AdmissionControl(lambda: 1.0, 2)
    with (
        control.turn(Deadline(5)),
        pytest.raises(Unavailable),
        control.turn(Deadline(0.05)),
    ):
        pass


def test_busyness_is_of_the_second_before(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.2]
    replace_in(monkeypatch, time, "analytics_app.writers", monotonic=lambda: clock[0])
    busy = Busyness()
    busy.add(0.3)
    busy.add(0.1)
    assert busy.share() == 0
    clock[0] = 101.5
    assert busy.share() == pytest.approx(0.4)
    clock[0] = 103.0
    assert busy.share() == 0


def started(run: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_one_account_has_two_reports_at_a_time_and_others_theirs() -> None:
    control = AdmissionControl(lambda: 0.0, 2)
    with control.admit("user 1", Deadline(5)), control.admit("user 1", Deadline(5)):
        with pytest.raises(TooManyRequests, match="2 at a time for one account or key") as refused:
            control.admit("user 1", Deadline(0.05)).__enter__()
        assert int(refused.value.headers["Retry-After"]) >= 1
        with control.admit("user 2", Deadline(0.05)):
            pass
    with control.admit("user 1", Deadline(0.05)):
        pass
    assert not control.running


def test_the_next_report_begins_when_one_has_ended() -> None:
    control, order = AdmissionControl(lambda: 0.0, 1), []

    def next_one() -> None:
        with control.admit("key 1", Deadline(10)):
            order.append("next")

    with control.admit("key 1", Deadline(10)):
        thread = started(next_one)
        wait_until("others to wait", lambda: control.waiting == 1)
        order.append("first")
    thread.join()
    assert order == ["first", "next"]


def test_few_wait_and_one_more_is_refused_at_once() -> None:
    control = AdmissionControl(lambda: 0.0, 1)

    def wait() -> None:
        with control.admit("user 1", Deadline(10)):
            pass

    with control.admit("user 1", Deadline(10)):
        threads = [started(wait) for _ in range(MAX_WAITING)]
        wait_until("others to wait", lambda: control.waiting == MAX_WAITING)
        begun = time.monotonic()
        with pytest.raises(TooManyRequests):
            control.admit("user 1", Deadline(10)).__enter__()
        assert time.monotonic() - begun < BUSY_SECONDS
    for thread in threads:
        thread.join()
    assert control.waiting == 0


def test_whoever_waits_and_has_gone_waits_no_longer() -> None:
    control = AdmissionControl(lambda: 0.0, 1)
    begun = time.monotonic()
    with control.admit("user 1", Deadline(60)), pytest.raises(TooManyRequests):
        control.admit("user 1", Deadline(60, lambda: True)).__enter__()
    assert time.monotonic() - begun < LOOK_SECONDS + BUSY_SECONDS


class Question:
    """A question that is computed until it is let go, and how often it was."""

    def __init__(self, error: Exception | None = None) -> None:
        self.control = AdmissionControl(lambda: 0.0, 2)
        self.go_on, self.times, self.answers = threading.Event(), 0, list[object]()
        self.read_on = threading.Event()
        self.read_on.set()
        self.error = error

    def compute(self, computation: Computation) -> int:
        self.times += 1
        assert self.go_on.wait(10)
        computation.begin_reading()
        assert self.read_on.wait(10)
        if self.error:
            raise self.error
        return self.times

    def ask(self, deadline: Deadline | None = None) -> None:
        try:
            self.answers.append(self.control.once("q", deadline or Deadline(10), self.compute))
        except Exception as error:
            self.answers.append(error)


def asked_while_reading(question: Question) -> list[threading.Thread]:
    """Returns who asked first, for whom reading has begun and goes on, and three who wait since."""
    question.read_on.clear()
    question.go_on.set()
    first = started(question.ask)
    wait_until("reading to begin", lambda: question.control.under_way["q"].reads_at < math.inf)
    later = [started(question.ask) for _ in range(3)]
    wait_until("others to wait", lambda: question.control.waiting == 3)
    return [first, *later]


def test_the_same_question_under_way_is_computed_once() -> None:
    question = Question()
    threads = [started(question.ask) for _ in range(4)]
    wait_until("others to wait", lambda: question.control.waiting == 3)
    assert question.control.once("another", Deadline(5), lambda _: "x") == "x"
    question.go_on.set()
    for thread in threads:
        thread.join()
    assert question.answers == [1] * 4
    question.ask()
    assert question.answers[-1] == 2, "the next one is computed anew"
    assert not question.control.under_way


def test_who_asks_when_reading_has_begun_shares_the_next_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    question, looks = Question(), list[object]()
    begun = question.control.begun
    monkeypatch.setattr(question.control, "begun", lambda q: (begun(q), looks.append(q))[0])
    first, *later = asked_while_reading(question)
    question.go_on.clear()
    question.read_on.set()
    first.join()
    wait_until("all to have looked", lambda: len(looks) == 1 + 3 + 3)
    question.go_on.set()
    for thread in later:
        thread.join()
    assert question.answers == [1, 2, 2, 2], "what was stored before they asked is in it"


def test_its_refusal_is_shared_too() -> None:
    question = Question(Invalid([FieldError("start", "is too early")]))
    threads = [started(question.ask) for _ in range(3)]
    wait_until("others to wait", lambda: question.control.waiting == 2)
    question.go_on.set()
    for thread in threads:
        thread.join()
    assert question.times == 1
    assert all(isinstance(each, Invalid) for each in question.answers)


@pytest.mark.parametrize("error", [Unavailable("gone"), OperationalError("", {}, Silence())])
def test_its_error_is_shared_by_all_who_wait(error: Exception) -> None:
    question = Question(error)
    threads = asked_while_reading(question)
    question.read_on.set()
    for thread in threads:
        thread.join()
    assert question.times == 1, "one after the other, each would wait for the same"
    assert question.answers == [error] * 4


@pytest.mark.parametrize("problem", [Unavailable("gone"), TooManyRequests()])
def test_what_was_given_up_for_one_is_computed_for_the_next(problem: Problem) -> None:
    question = Question(problem)
    leaving = Deadline(10)
    leaving.gone = isinstance(problem, Unavailable)
    first = started(lambda: question.ask(leaving))
    wait_until("its computation", lambda: question.times == 1)
    second = started(question.ask)
    wait_until("others to wait", lambda: question.control.waiting == 1)
    question.go_on.set()
    first.join()
    second.join()
    assert question.times == 2


def test_who_waits_for_anothers_answer_waits_no_longer_than_the_limit() -> None:
    question = Question()
    first = started(question.ask)
    wait_until("its computation", lambda: question.times == 1)
    with pytest.raises(Unavailable, match="REPORT_TIMEOUT_MS"):
        question.control.once("q", Deadline(0.05), question.compute)
    question.go_on.set()
    first.join()


@pytest.mark.parametrize("name", REPORTS)
def test_every_behaviour_report_is_admitted_and_shared_by_right(
    app: Flask, analyst: Api, viewer: Api, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    control, asked, admitted = services_in(app).admission, [], []
    once, admit = control.once, control.admit
    monkeypatch.setattr(
        control, "once", lambda question, *rest: (asked.append(question), once(question, *rest))[1]
    )
    monkeypatch.setattr(
        control, "admit", lambda who, deadline: (admitted.append(who), admit(who, deadline))[1]
    )
    method, path, given = REPORTS[name]
    for api in (analyst, analyst, viewer):
        assert api.call(method, path, **given).status_code == 200
    assert admitted == ["user 2", "user 2", "user 3"]
    assert asked[0] == asked[1] != asked[2]


@pytest.mark.parametrize("name", REPORTS)
def test_every_behaviour_report_notes_that_it_begins_to_read_before_it_does(
    app: Flask, analyst: Api, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    happened: list[str] = []

    def watch(owner: Any, step: str) -> None:
        act = getattr(owner, step)

        def noted(*given: Any) -> Any:
            happened.append(step)
            return act(*given)

        monkeypatch.setattr(owner, step, noted)

    watch(services_in(app).admission, "admit")
    watch(Computation, "begin_reading")
    watch(services_in(app).readers, "snapshot")
    method, path, given = REPORTS[name]
    assert analyst.call(method, path, **given).status_code == 200
    assert happened == ["admit", "begin_reading", "snapshot"]
