"""Events are stored once, counted once, and judged one by one."""

from __future__ import annotations

import gzip
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from analytics_app.models import Event, db
from tests.unit.analytics.conftest import Api, MakeApp, service_token

NOON = "2026-03-10T12:00:00Z"


def an_event(**given: Any) -> dict[str, Any]:
    return {"event_type": "page_view", "created_at": NOON, "event_id": str(uuid.uuid4()), **given}


def uuid7(moment: datetime) -> str:
    milliseconds = int(moment.timestamp() * 1000)
    return str(uuid.UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62) | 12345))


def test_an_event_is_answered_as_it_is_stored(admin: Api) -> None:
    sent = an_event(user_id=7, metadata={"path": "/", "n": [1, 2.5, None, True]})
    stored = admin.send(sent)
    assert stored == {**sent, "id": stored["id"]}
    assert admin.get("/analytics/events")["items"] == [stored]


def test_a_repeat_is_answered_with_the_stored_event_and_counted_once(admin: Api) -> None:
    sent = an_event(user_id=7)
    first = admin.send(sent)
    assert admin.send(sent, 200) == first
    assert admin.get("/analytics/events/by-type")["total"] == 1


def test_the_time_of_a_uuid_v7_is_taken(admin: Api) -> None:
    moment = datetime.now(UTC) - timedelta(hours=3)
    sent = {"event_type": "a", "event_id": uuid7(moment)}
    stored = admin.send(sent)
    assert datetime.fromisoformat(stored["created_at"]) == moment.replace(
        microsecond=moment.microsecond // 1000 * 1000
    )
    assert admin.send(sent, 200) == stored


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("event_type", {"event_type": "with space"}),
        ("event_type", {"event_type": "a\n"}),
        ("event_type", {"event_type": "x" * 101}),
        ("event_type", {"event_type": 5}),
        ("user_id", {"user_id": 0}),
        ("user_id", {"user_id": 2**63}),
        ("user_id", {"user_id": "7"}),
        ("user_id", {"user_id": True}),
        ("visitor_id", {"visitor_id": ""}),
        ("visitor_id", {"visitor_id": "v" * 65}),
        ("visitor_id", {"visitor_id": "v", "user_id": 3}),
        ("actor", {"actor": -5}),
        ("metadata", {"metadata": []}),
        ("metadata", {"metadata": {"a": "x" * 17_000}}),
        ("metadata", {"metadata": {"a": [[[[[[[[]]]]]]]]}}),
        ("metadata.a", {"metadata": {"a": "nul \x00"}}),
        ("created_at", {"created_at": "2026-03-10"}),
        ("created_at", {"created_at": "2026-03-10T12:00:00"}),
        ("created_at", {"created_at": "2026-02-30T12:00:00Z"}),
        ("created_at", {"created_at": "1700000000"}),
        ("created_at", {"created_at": "1999-12-31T23:59:59Z"}),
        ("created_at", {"created_at": "0001-01-01T00:00:00+23:00"}),
        ("created_at", {"created_at": "9999-12-31T23:59:59-23:00"}),
        ("event_id", {"event_id": "not-a-uuid"}),
        ("event_id", {"event_id": str(uuid.uuid4()), "created_at": None}),
        (
            "event_id",
            {"event_id": uuid7(datetime.now(UTC) + timedelta(hours=1)), "created_at": None},
        ),
        ("surprise", {"surprise": 1}),
    ],
)
def test_a_bad_event_is_refused_and_its_field_named(
    admin: Api, field: str, given: dict[str, Any]
) -> None:
    refused = admin.send(an_event(**given), 422)
    assert field in [error["field"] for error in refused["errors"]]
    assert admin.get("/analytics/events/by-type")["total"] == 0


def test_all_complaints_come_at_once(admin: Api) -> None:
    refused = admin.send({"event_type": "no good", "user_id": 0, "metadata": 3, "x": 1}, 422)
    assert {error["field"] for error in refused["errors"]} == {
        "event_type",
        "user_id",
        "metadata",
        "x",
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"event_type": "a", "event_type": "b"}',
        b'{"event_type": "a", "metadata": {"k" : 1, "k":2}}',
        b'{"event_type": "a", "metadata": {"k": NaN}}',
        b'{"event_type": "\xff"}',
        '{"event_type": "a"}'.encode("utf-16"),
        b'{"event_type": "a", "metadata": {"k": ' + b"[" * 60_000,
    ],
)
def test_a_body_that_is_no_strict_json_is_a_400(admin: Api, body: bytes) -> None:
    answer = admin.call("POST", "/analytics/events", data=body, content_type="application/json")
    assert answer.status_code == 400


@pytest.mark.parametrize("levels", [9, 150, 400, 900])
def test_deep_metadata_is_refused_by_name_or_as_unreadable(admin: Api, levels: int) -> None:
    body = b'{"event_type": "a", "metadata": ' + b'{"k":' * levels + b"1" + b"}" * levels + b"}"
    answer = admin.call("POST", "/analytics/events", data=body, content_type="application/json")
    assert answer.status_code in (400, 422)


def test_a_number_no_float_can_hold_is_refused(admin: Api) -> None:
    body = b'{"event_type": "a", "metadata": {"k": 1e999}}'
    answer = admin.call("POST", "/analytics/events", data=body, content_type="application/json")
    assert answer.status_code == 422


def test_an_event_up_to_five_minutes_ahead_is_taken(admin: Api) -> None:
    now = datetime.now(UTC)
    admin.send(an_event(created_at=(now + timedelta(minutes=4)).isoformat()))
    admin.send(an_event(created_at=(now + timedelta(minutes=6)).isoformat()), 422)


def test_a_batch_takes_the_good_and_names_the_bad(admin: Api) -> None:
    good, other = an_event(user_id=5), an_event(visitor_id="v")
    answer = admin.batch([good, {"event_type": "?"}, other, good, 17, an_event(user_id=0)])
    assert (answer["accepted"], answer["duplicates"], answer["rejected"]) == (2, 1, 3)
    assert [(each["index"], each["status"]) for each in answer["results"]] == [
        (1, "rejected"),
        (3, "duplicate"),
        (4, "rejected"),
        (5, "rejected"),
    ]
    again = admin.batch([other, good])
    assert (again["accepted"], again["duplicates"], again["rejected"]) == (0, 2, 0)
    assert admin.get("/analytics/events/by-type")["total"] == 2


def test_a_lone_surrogate_costs_only_its_own_event(admin: Api) -> None:
    body = b'{"events": [{"event_type": "a"}, {"event_type": "b", "metadata": {"k": "\\ud800"}}]}'
    answer = admin.call(
        "POST", "/analytics/events/batch", data=body, content_type="application/json"
    )
    assert answer.get_json()["accepted"] == 1
    assert answer.get_json()["results"][0]["index"] == 1


def test_ndjson_is_judged_line_by_line(admin: Api) -> None:
    lines = [json.dumps(an_event()), "{", "", '{"event_type": "a", "event_type": "a"}', "[]"]
    answer = admin.call(
        "POST",
        "/analytics/events/batch",
        data="\n".join(lines),
        content_type="application/x-ndjson",
    )
    body = answer.get_json()
    assert (body["accepted"], body["rejected"]) == (1, 3)
    assert [each["index"] for each in body["results"]] == [1, 2, 3]


def test_an_empty_batch_is_fine_and_one_over_the_limit_is_not(admin: Api) -> None:
    assert admin.batch([])["accepted"] == 0
    body = {"events": [{"event_type": "a"}] * 5001}
    assert admin.call("POST", "/analytics/events/batch", json=body).status_code == 413


def test_a_batch_of_five_thousand_is_taken_whole(admin: Api) -> None:
    assert admin.batch([an_event(user_id=n % 7 + 1) for n in range(5000)])["accepted"] == 5000
    assert admin.get("/analytics/events/by-type")["items"] == [
        {"event_type": "page_view", "count": 5000, "unique_users": 7}
    ]


def test_a_user_sends_for_oneself_alone(viewer: Api) -> None:
    assert viewer.send(an_event())["user_id"] == 3
    assert viewer.send(an_event(user_id=3))["user_id"] == 3
    viewer.send(an_event(user_id=4), 403)
    viewer.send(an_event(visitor_id="v"), 403)
    viewer.send(an_event(event_type="user_logged_in"), 403)
    answer = viewer.batch([an_event(), an_event(user_id=4), an_event(event_type="user_deleted")])
    assert (answer["accepted"], answer["rejected"]) == (1, 2)


def test_null_means_nobody_and_is_refused_as_anothers_is(viewer: Api, admin: Api) -> None:
    refused = viewer.send(an_event(user_id=None), 403)
    assert refused["errors"][0]["field"] == "user_id"
    assert viewer.send(an_event(visitor_id=None))["user_id"] == 3
    answer = viewer.batch([an_event(user_id=None), an_event(), an_event(event_type="user_deleted")])
    fields = {each["index"]: each["errors"][0]["field"] for each in answer["results"]}
    assert (answer["accepted"], fields) == (1, {0: "user_id", 2: "event_type"})
    assert admin.send(an_event(user_id=None))["user_id"] is None


def test_a_batch_counts_every_event_once_by_what_became_of_it(
    admin: Api, users_service: Api
) -> None:
    gone = {"event_type": "a", "user_id": 7, "created_at": NOON}
    users_service.call("DELETE", "/analytics/users/7/events")
    good = an_event(user_id=5)
    answer = admin.batch([good, {**gone, "event_id": str(uuid.uuid4())}, good, an_event(user_id=0)])
    counts = {name: answer[name] for name in ("accepted", "duplicates", "rejected", "erased")}
    assert counts == {"accepted": 1, "duplicates": 1, "rejected": 1, "erased": 1}
    statuses = [(each["index"], each["status"]) for each in answer["results"]]
    assert statuses == [(1, "erased"), (2, "duplicate"), (3, "rejected")]


def test_the_users_service_sends_its_own_types_for_anybody(users_service: Api) -> None:
    assert users_service.send(an_event(event_type="user_deleted"))["user_id"] is None
    assert users_service.send(an_event(event_type="user_registered", user_id=9))["user_id"] == 9


def test_a_visitor_is_one_actor_and_never_answered(admin: Api) -> None:
    stored = admin.send(an_event(visitor_id="browser-1"))
    assert "visitor_id" not in stored
    assert stored["user_id"] is None
    admin.send(an_event(visitor_id="browser-1"))
    admin.send(an_event(visitor_id="browser-2"))
    admin.send(an_event())
    assert admin.get("/analytics/events/by-type")["items"][0]["unique_users"] == 2


# HMAC-SHA256 of "browser-1" under each secret, made outside of this code: the upper 63 bits.
@pytest.mark.parametrize(
    ("secret", "number"),
    [
        ("1f8b0a6d3c57e92b44d0c1a97e6f235d8c0b19e7a4f6d832", -6688030873300210784),
        ("c7d2e90f416b8a3558f1047bd96c2ea3b05f7d18e4c29a60", -961914215419184860),
    ],
    ids=["one secret", "another"],
)
def test_a_visitors_number_is_the_secrets_to_make_and_stays_the_same(
    make_app: MakeApp, secret: str, number: int
) -> None:
    app = make_app(secret_key=secret)
    with app.app_context():
        Api(app.test_client(), service_token()).send(an_event(visitor_id="browser-1"))
        assert db.session.scalars(select(Event.actor)).all() == [number]


def test_one_identity_is_id_time_and_actor_together(admin: Api) -> None:
    sent = an_event(user_id=1)
    admin.send(sent)
    admin.send({**sent, "user_id": 2})
    admin.send({**sent, "created_at": "2026-03-10T12:00:00.000001Z"})
    admin.send({**sent, "event_id": str(uuid.uuid4())})
    admin.send({**sent, "event_type": "other", "event_id": sent["event_id"].upper()}, 200)
    admin.send({**sent, "created_at": "2026-03-10T17:45:00+05:45"}, 200)
    assert admin.get("/analytics/events/by-type")["total"] == 4


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
def test_a_batch_may_come_compressed(admin: Api, kind: str) -> None:
    events = [an_event(user_id=1) for _ in range(3)]
    lines = "\n".join(map(json.dumps, events)).encode()
    body = lines if kind.endswith("ndjson") else json.dumps({"events": events}).encode()
    path, headers = "/analytics/events/batch", {"Content-Encoding": "gzip"}
    given: dict[str, Any] = {"headers": headers, "content_type": kind}
    answer = admin.call("POST", path, data=gzip.compress(body), **given)
    assert answer.get_json()["accepted"] == 3
    assert admin.call("POST", path, data=body, **given).status_code == 400
    bomb = gzip.compress(b" " * (5 * 1024 * 1024 + 1))
    assert admin.call("POST", path, data=bomb, **given).status_code == 413
    headers["Content-Encoding"] = "br"
    refused = admin.call("POST", path, data=body, **given)
    assert (refused.status_code, refused.headers["Accept-Encoding"]) == (415, "gzip")
