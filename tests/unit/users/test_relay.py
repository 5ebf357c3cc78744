"""The relay: what is delivered, repeated, refused, postponed; erasures and their order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from threading import Event
from typing import Any

import jwt
import pytest
from flask import Flask
from sqlalchemy import select

from chassis.database import transaction
from tests.unit.users.conftest import PASSWORD, Clock, MakeApp, Person
from tests.unit.users.receiver import StandIn
from users_app import clock, outbox
from users_app.keys import key_ring, new_key_pem
from users_app.models import OutboxMessage, db
from users_app.relay import queue
from users_app.relay.backoff import Backoff
from users_app.relay.pauses import LONGEST_SECONDS
from users_app.relay.receiver import Receiver, Trouble, Troubled


@pytest.fixture
def analytics() -> Iterator[StandIn]:
    made = StandIn()
    yield made
    made.close()


@pytest.fixture
def receiver(app: Flask, analytics: StandIn) -> Iterator[Receiver]:
    with app.app_context():
        yield Receiver(analytics.url)


def put(*numbers: int, **metadata: Any) -> None:
    with transaction(db.session):
        for number in numbers:
            outbox.put_event("user_updated", number, **metadata)


def numbers_of(batch: list[dict[str, Any]]) -> list[int]:
    return [event["user_id"] for event in batch]


def dead_and_pending() -> tuple[int, int]:
    found = queue.backlog()
    return found.dead, found.pending


def test_nothing_due_is_nothing_done(receiver: Receiver, analytics: StandIn) -> None:
    assert queue.deliver_some(receiver) is None
    assert analytics.tokens == []


def test_events_are_delivered_in_one_batch_and_removed(
    receiver: Receiver, analytics: StandIn
) -> None:
    put(1, 2, 3, how="test")
    outcome = queue.deliver_some(receiver)
    assert outcome is not None
    assert outcome.trouble is None
    (batch,) = analytics.batches
    assert numbers_of(batch) == [1, 2, 3]
    assert set(batch[0]) == {"event_id", "event_type", "user_id", "metadata", "created_at"}
    assert batch[0]["metadata"] == {"how": "test"}
    assert batch[0]["created_at"].endswith("Z")
    assert dead_and_pending() == (0, 0)


def test_the_relay_calls_with_a_service_token(receiver: Receiver, analytics: StandIn) -> None:
    put(1)
    queue.deliver_some(receiver)
    (header,) = analytics.tokens
    claims = jwt.decode(header.removeprefix("Bearer "), options={"verify_signature": False})
    assert (claims["type"], claims["aud"]) == ("service", ["analytics"])


def test_at_most_a_hundred_go_at_once(receiver: Receiver, analytics: StandIn) -> None:
    put(*range(1, 251))
    while queue.deliver_some(receiver):
        pass
    assert [len(batch) for batch in analytics.batches] == [100, 100, 50]
    assert len(analytics.stored) == 250


def test_an_answer_that_got_lost_is_repeated_with_the_same_identity(
    receiver: Receiver, analytics: StandIn, moving_clock: Clock
) -> None:
    put(1)
    analytics.replies = [(0, {}, None)]
    first = queue.deliver_some(receiver)
    assert first is not None
    assert list(first.troubled.values()) == [Trouble("HTTP 500", 0.0)]
    moving_clock.forward(seconds=1)
    queue.deliver_some(receiver)
    assert analytics.batches[0] == analytics.batches[1]
    assert (len(analytics.stored), analytics.repeats) == (1, 1)
    assert dead_and_pending() == (0, 0)


def test_a_claimed_row_is_left_alone_until_its_lease_is_over(
    app: Flask, moving_clock: Clock
) -> None:
    with app.app_context():
        put(1)
        assert len(queue.claim()) == 1, "and then the relay is killed"
        assert queue.claim() == []
        moving_clock.forward(seconds=queue.LEASE.total_seconds())
        assert len(queue.claim()) == 1


def test_a_row_that_becomes_visible_late_is_not_missed(
    receiver: Receiver, analytics: StandIn
) -> None:
    """Commit order is not id order: a lower id may appear after a higher one was delivered."""
    put(1, 2)
    with transaction(db.session):
        late = db.session.get_one(OutboxMessage, 1)
        due = late.due_at
        late.due_at = due + timedelta(hours=1)
    queue.deliver_some(receiver)
    with transaction(db.session):
        db.session.get_one(OutboxMessage, 1).due_at = due
    queue.deliver_some(receiver)
    assert [numbers_of(batch) for batch in analytics.batches] == [[2], [1]]


def test_a_rejected_row_is_kept_as_dead_and_the_others_go(
    receiver: Receiver, analytics: StandIn
) -> None:
    put(1, 3)
    put(2, poison="row")
    queue.deliver_some(receiver)
    assert dead_and_pending() == (1, 0)
    (dead,) = queue.listed(dead_only=True, limit=10)
    assert dead.user_id == 2
    assert "is poison" in str(dead.last_error)


def refuse_batches_with_poison(_method: str, _path: str, document: Any) -> Any:
    events = (document or {}).get("events", [])
    poisoned = any(event["metadata"].get("poison") == "batch" for event in events)
    return (400, {}, {"title": "Bad Request"}) if poisoned else None


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_batch_is_halved_until_the_poison_stands_alone(
    app: Flask, receiver: Receiver, analytics: StandIn, status: int
) -> None:
    def refuse(method: str, path: str, document: Any) -> Any:
        reply = refuse_batches_with_poison(method, path, document)
        return reply and (status, {}, {})

    analytics.decide = refuse
    put(*range(1, 41))
    put(41, poison="batch")
    put(*range(42, 61))
    queue.deliver_some(receiver)
    assert len(analytics.stored) == 59
    assert dead_and_pending() == (1, 0)
    assert len(analytics.tokens) < 20, "halved, and not sent one by one"


def test_a_dead_row_is_requeued_and_goes(receiver: Receiver, analytics: StandIn) -> None:
    analytics.decide = refuse_batches_with_poison
    put(1, poison="batch")
    queue.deliver_some(receiver)
    assert queue.deliver_some(receiver) is None, "a dead row is not tried again by itself"
    analytics.decide = None
    assert queue.requeue([]) == 1
    queue.deliver_some(receiver)
    assert dead_and_pending() == (0, 0)
    assert len(analytics.stored) == 1


def test_a_401_gets_a_new_token_and_counts_no_attempt(
    receiver: Receiver, analytics: StandIn
) -> None:
    put(1)
    analytics.replies = [(401, {}, {})]
    queue.deliver_some(receiver)
    assert dead_and_pending() == (0, 0)
    assert len(set(analytics.tokens)) == 2


@pytest.mark.parametrize("status", [302, 403, 404, 429, 502, 503])
def test_any_other_answer_postpones_and_loses_nothing(
    receiver: Receiver, analytics: StandIn, status: int
) -> None:
    put(1, 2)
    analytics.replies = [(status, {"Retry-After": "7"}, {})]
    outcome = queue.deliver_some(receiver)
    assert outcome is not None
    assert outcome.trouble == Trouble(f"HTTP {status}", 7.0)
    assert dead_and_pending() == (0, 2)
    (row, _) = queue.listed(dead_only=False, limit=10)
    assert (row.attempts, row.last_error) == (1, f"HTTP {status}")


def test_an_answer_that_is_no_json_postpones(receiver: Receiver, analytics: StandIn) -> None:
    put(1)
    analytics.replies = [(200, {}, ["not an object"])]
    outcome = queue.deliver_some(receiver)
    assert outcome is not None
    assert outcome.trouble is not None
    assert dead_and_pending() == (0, 1)


def test_a_receiver_that_is_down_postpones(app: Flask) -> None:
    with app.app_context():
        put(1)
        outcome = queue.deliver_some(Receiver("http://127.0.0.1:9"))
        assert outcome is not None
        assert outcome.trouble == Trouble("ConnectionError")
        assert dead_and_pending() == (0, 1)


def test_a_deletion_erases_first_and_then_names_nobody(
    admin: Person, ada: Person, receiver: Receiver, analytics: StandIn, moving_clock: Clock
) -> None:
    while queue.deliver_some(receiver):
        pass
    analytics.order.clear()
    ada.call("PATCH", "/users/me", json={"full_name": "never delivered"})
    ada.call("DELETE", "/users/me", json={"current_password": PASSWORD})
    analytics.replies = [(500, {}, {})]
    assert queue.deliver_some(receiver) is None
    queue.erase_some(receiver)
    assert queue.deliver_some(receiver) is None, "its event follows it"
    moving_clock.forward(seconds=1)
    queue.erase_some(receiver)
    queue.deliver_some(receiver)
    assert analytics.order == ["erase", "user_deleted"]
    assert analytics.erased == [ada.id]
    (deleted,) = [e for e in analytics.stored.values() if e["event_type"] == "user_deleted"]
    assert deleted["user_id"] is None
    assert dead_and_pending() == (0, 0)


def test_an_erasure_that_is_refused_is_kept_as_dead(receiver: Receiver, analytics: StandIn) -> None:
    with transaction(db.session):
        outbox.put_erasure(7, by="self")
    analytics.replies = [(422, {}, {})]
    queue.erase_some(receiver)
    assert dead_and_pending() == (1, 0)
    assert analytics.stored == {}


def put_erasures(*numbers: int) -> None:
    with transaction(db.session):
        for number in numbers:
            outbox.put_erasure(number, by="self")


def test_an_erasure_that_goes_on_in_the_background_counts_as_done(
    receiver: Receiver, analytics: StandIn
) -> None:
    put_erasures(7)
    analytics.replies = [(202, {}, {"erasure": 1})]
    queue.erase_some(receiver)
    queue.deliver_some(receiver)
    assert analytics.order == ["user_deleted"]
    assert dead_and_pending() == (0, 0)


def fail_for(user_id: int, status: int) -> Any:
    """Returns what answers a call about one account with the status, and others as usual."""

    def decide(_method: str, path: str, _document: Any) -> Any:
        return (status, {"Retry-After": "7"}, {}) if f"/users/{user_id}/" in path else None

    return decide


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_trouble_with_one_erasure_keeps_no_other_message(
    receiver: Receiver, analytics: StandIn, moving_clock: Clock, status: int
) -> None:
    analytics.decide = fail_for(7, status)
    put_erasures(7, 8)
    put(9)
    outcomes = [queue.erase_some(receiver), queue.erase_some(receiver)]
    assert [outcome and outcome.trouble for outcome in outcomes] == [None, None]
    queue.deliver_some(receiver)
    assert analytics.erased == [8]
    assert sorted(analytics.order) == ["erase", "user_deleted", "user_updated"]
    moving_clock.forward(seconds=6)
    assert queue.erase_some(receiver) is None, "Retry-After is honoured"
    analytics.decide = None
    moving_clock.forward(seconds=2)
    queue.erase_some(receiver)
    queue.deliver_some(receiver)
    assert analytics.order[-2:] == ["erase", "user_deleted"]
    assert dead_and_pending() == (0, 0)


def test_an_erasure_that_times_out_waits_longer_each_time(
    receiver: Receiver, analytics: StandIn, moving_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(method: str, *_: object) -> Any:
        raise Troubled("ReadTimeout")

    monkeypatch.setattr(receiver, "send", silent)
    put_erasures(7)
    waits = []
    for _ in range(12):
        assert queue.erase_some(receiver) is not None
        due = db.session.scalars(select(OutboxMessage.due_at)).one()
        waits.append((due - clock.now()).total_seconds())
        moving_clock.forward(seconds=waits[-1])
    assert all(2.0 ** (n - 2) <= wait <= 2.0 ** (n - 1) for n, wait in enumerate(waits[:9]))
    assert LONGEST_SECONDS / 2 <= waits[-1] <= LONGEST_SECONDS


def test_where_analytics_itself_is_down_an_erasure_is_no_trouble_of_its_own(app: Flask) -> None:
    with app.app_context():
        put_erasures(7)
        outcome = queue.erase_some(Receiver("http://127.0.0.1:9"))
        assert outcome is not None
        assert outcome.trouble == Trouble("ConnectionError")
        assert outcome.troubled == {}
        assert dead_and_pending() == (0, 1)


def test_one_event_that_breaks_analytics_keeps_no_other(
    receiver: Receiver, analytics: StandIn, moving_clock: Clock
) -> None:
    def breaks(method: str, path: str, document: Any) -> Any:
        reply = refuse_batches_with_poison(method, path, document)
        return reply and (500, {}, {})

    analytics.decide = breaks
    put(*range(1, 41))
    put(41, poison="batch")
    put(*range(42, 61))
    outcome = queue.deliver_some(receiver)
    assert outcome is not None
    assert outcome.trouble is None
    assert len(analytics.stored) == 59
    assert dead_and_pending() == (0, 1)
    analytics.decide = None
    moving_clock.forward(seconds=1)
    queue.deliver_some(receiver)
    assert len(analytics.stored) == 60


class Waits(Event):
    """An event that nobody waits for, and that keeps what it was asked to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0)
        return False


def test_pauses_double_up_to_five_minutes_and_start_anew_after_a_delivery() -> None:
    waits = Waits()
    backoff = Backoff(Receiver("http://127.0.0.1:9"), waits)
    pauses = []
    for _ in range(15):
        waits.seconds.clear()
        backoff.after(Trouble("down"))
        pauses.append(sum(waits.seconds))
    assert pauses[0] <= 0.5
    assert all(2.0 ** (n - 2) <= pause <= 2.0 ** (n - 1) for n, pause in enumerate(pauses[:9]))
    assert max(pauses) <= LONGEST_SECONDS
    assert min(pauses[10:]) >= LONGEST_SECONDS / 2
    backoff.after(None)
    waits.seconds.clear()
    backoff.after(Trouble("down"))
    assert sum(waits.seconds) <= 0.5


def test_retry_after_is_waited_out(analytics: StandIn) -> None:
    waits = Waits()
    Backoff(Receiver(analytics.url), waits).after(Trouble("HTTP 429", 42.0))
    assert waits.seconds[0] == 42.0
    assert analytics.asked == [], "it said when to come back: it is not asked before"


def test_a_pause_ends_early_when_analytics_is_well_again(analytics: StandIn) -> None:
    waits = Waits()
    backoff = Backoff(Receiver(analytics.url), waits)
    backoff.failures = 12
    backoff.after(Trouble("ConnectionError"))
    assert sum(waits.seconds) <= 2.0
    assert analytics.asked == ["/health"]


def test_the_relay_signs_with_the_key_file_as_it_is_now(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = new_key_pem()
    monkeypatch.setenv("JWT_PRIVATE_KEY", newer)
    with make_app().app_context():
        token = Receiver("http://127.0.0.1:9").fresh_token()
    assert jwt.get_unverified_header(token)["kid"] == key_ring(newer).signing.kid


def test_a_key_file_that_can_not_be_read_leaves_the_former_key(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_PRIVATE_KEY", "half a file")
    with make_app().app_context():
        assert Receiver("http://127.0.0.1:9").fresh_token()
