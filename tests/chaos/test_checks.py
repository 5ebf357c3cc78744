"""The judges of the chaos runs see each planted fault, and nothing where there is none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos import checks
from tests.chaos.faults import ALL, Fault
from tests.chaos.history import Answer, History
from tests.chaos.load import grown
from tests.chaos.trial import ALLOWANCE_SECONDS, SLOWER_AT_MOST, Row, slowed

TYPE = "chaos.planted.single"


def event(name: str, event_type: str = TYPE, user_id: int | None = 1) -> dict[str, Any]:
    return {"event_id": name, "event_type": event_type, "user_id": user_id}


@pytest.fixture
def history() -> History:
    """Returns a run in which Ada registered and sent two events, one of them unknown."""
    made = History()
    made.attempt(TYPE, 2)
    made.done("event", TYPE, ["first"], "acknowledged")
    made.done("event", TYPE, ["second"], "unknown")
    made.done("register", "ada", ["ada"], "acknowledged")
    made.done("rename", "ada", ["Ada L."], "acknowledged")
    made.done("rename", "ada", ["Countess"], "unknown")
    return made


REGISTERED = [event("r", "user_registered"), event("u", "user_updated")]
IDS = {"ada": 1}


@pytest.mark.parametrize("second", [[], [event("second")]])
def test_a_true_history_pleases_every_judge(history: History, second: list[Any]) -> None:
    stored = [event("first"), *second, *REGISTERED]
    reported = {TYPE: 1 + len(second), "user_registered": 1, "user_updated": 1}
    history.read(TYPE, 1 + len(second), began=history.deeds[-1].ended + 1)
    assert checks.misreported(history) == []
    assert checks.lost(history, stored) == []
    assert checks.doubled(stored) == []
    assert checks.miscounted(stored, reported) == []
    assert checks.unheard(history, stored, IDS) == []
    assert checks.remembered(history, stored, IDS) == []
    assert checks.forgotten(history, {"ada": {"full_name": "Countess"}}) == []
    assert checks.forgotten(history, {"ada": {"full_name": "Ada L."}}) == []
    assert checks.shown_to_others(history) == []
    assert checks.unannounced(history) == []


def test_a_lost_event_is_seen(history: History) -> None:
    assert len(checks.lost(history, [event("second")])) == 1


def test_an_event_stored_twice_is_seen() -> None:
    assert len(checks.doubled([event("first"), event("first")])) == 1


@pytest.mark.parametrize("reported", [{TYPE: 2}, {}, {TYPE: 1, "made.up": 1}])
def test_a_count_that_is_not_that_of_the_events_is_seen(reported: dict[str, int]) -> None:
    assert len(checks.miscounted([event("first")], reported)) == 1


@pytest.mark.parametrize(("count", "complaints"), [(0, 1), (1, 0), (2, 0), (3, 1)])
def test_a_report_behind_or_ahead_of_the_truth_is_seen(
    history: History, count: int, complaints: int
) -> None:
    history.read(TYPE, count, began=history.deeds[-1].ended + 1)
    assert len(checks.misreported(history)) == complaints


@pytest.mark.parametrize("times", [0, 2])
def test_a_registration_told_never_or_twice_is_seen(history: History, times: int) -> None:
    stored = [event(str(n), "user_registered") for n in range(times)]
    stored.append(event("u", "user_updated"))
    assert len(checks.unheard(history, stored, IDS)) == 1


def test_an_account_that_is_gone_and_a_name_that_went_back_are_seen(history: History) -> None:
    assert len(checks.forgotten(history, {"ada": {"full_name": "Nobody"}})) == 1
    assert len(checks.forgotten(history, {})) == 2


def test_events_of_a_deleted_account_are_seen(history: History) -> None:
    history.done("delete", "ada", ["ada"], "acknowledged")
    assert len(checks.remembered(history, [event("first"), event("x", user_id=2)], IDS)) == 1


def test_what_was_shown_to_the_wrong_person_is_seen(history: History) -> None:
    history.shown_to_the_wrong_person("/users/me answered ada: grace")
    assert len(checks.shown_to_others(history)) == 1


@pytest.mark.parametrize(("status", "complaints"), [(503, 0), (0, 0), (422, 0), (500, 1), (502, 1)])
def test_a_server_error_that_is_not_announced_is_seen(
    history: History, status: int, complaints: int
) -> None:
    history.answered("users", status, began=0.0)
    assert len(checks.unannounced(history)) == complaints


def test_a_429_is_seen(history: History) -> None:
    history.answered("users", 429, began=0.0)
    assert len(checks.throttled(history)) == 1


ADDRESS = "ada@example.com"


@pytest.mark.parametrize(
    ("ids", "complaints"),
    [
        (["1"], 0),
        (["1", "2"], 0),
        ([], 1),
        (["1", "2", "3"], 1),
        (["1", "1"], 1),
    ],
    ids=["the one", "also of the unknown", "none", "one too many", "one twice"],
)
def test_mails_that_are_lost_or_doubled_are_seen(
    history: History, ids: list[str], complaints: int
) -> None:
    history.done("ask", "ada", [ADDRESS], "acknowledged")
    history.done("ask", "ada", [ADDRESS], "unknown")
    mails = {ADDRESS: [(each, "text") for each in ids]}
    assert len(checks.mismailed(history, mails.__getitem__)) == complaints


def test_a_dead_link_is_seen(history: History) -> None:
    history.done("reset", "ada", ["code"], "acknowledged")
    assert checks.mismailed(history, lambda _: []) == []
    history.done("reset", "ada", ["code"], "refused")
    assert len(checks.mismailed(history, lambda _: [])) == 1


def test_others_who_wait_too_long_are_seen() -> None:
    fault = Fault("planted", "a planted fault", print, bounded=True)
    usual = ALLOWANCE_SECONDS
    most = SLOWER_AT_MOST * usual + ALLOWANCE_SECONDS
    assert slowed(Row(fault, usual_p99=usual, p99=most)) == []
    assert len(slowed(Row(fault, usual_p99=usual, p99=most + 0.001))) == 1


def test_the_slowest_hundredth_is_that_of_the_time_and_of_those_who_do_not_need_it() -> None:
    history = History()
    for number in range(200):
        history.answers.append(Answer("users", 200, number, 0.01 if number % 50 else 0.5))
        history.answers.append(Answer("analytics", 200, number, 9.0))
    assert history.p99(0, 200, {"analytics"}) == 0.5
    assert history.p99(1, 50, {"analytics"}) == 0.01
    assert history.p99(0, 200) == 9.0
    assert history.p99(0, 200, {"analytics", "users"}) is None


def test_a_process_that_grows_under_load_is_seen() -> None:
    assert grown({"users": (100 << 20, 101 << 20), "relay": (60 << 20, 64 << 20)}) == []
    assert len(grown({"users": (100 << 20, 150 << 20)})) == 1


def test_a_row_with_a_complaint_is_not_good() -> None:
    row = Row(Fault("planted", "a planted fault", print), complaints=["lost: an event"])
    assert not row.is_good
    assert "**lost ×1**" in row.markdown()


def test_every_fault_has_a_name_of_its_own() -> None:
    assert len({fault.name for fault in ALL}) == len(ALL) >= 35
