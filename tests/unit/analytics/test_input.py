"""Hostile input: whatever is sent, the answer is a 4xx that says why, and never a 5xx."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.hostile import NO_IDS, TEXTS, UNPARSABLE, VALUES
from tests.unit.analytics.conftest import Api

EVENT = {
    "event_type": "a", "user_id": 1, "visitor_id": "v", "metadata": {"k": "v"},
    "event_id": "00000000-0000-4000-8000-000000000001", "created_at": "2026-05-01T00:00:00Z",
}  # fmt: skip
FUNNEL = {
    "steps": [{"event_type": "a"}, {"event_type": "b"}], "window": "7d", "start": "2026-05-01",
    "end": "2026-05-02", "tz": "UTC", "breakdown": "k", "limit": 5,
}  # fmt: skip
BODIES: dict[str, dict[str, Any]] = {
    "/events": EVENT,
    "/api-keys": {"name": "x", "scopes": ["events:write"], "expires_in_days": 1},
    "/annotations": {"day": "2026-05-01", "text": "x"},
    "/saved-reports": {"name": "x", "report": "paths", "query": "levels=2"},
    "/funnel": FUNNEL,
    "/funnel/dropped": {**FUNNEL, "step": 2, "limit": 5, "cursor": None},
}
QUERIES: dict[str, list[str]] = {
    "/events": ["event_type", "user_id", "start", "end", "tz", "limit", "cursor", "fields",
                "metadata.k", "metadata."],
    "/events/date-range": ["start_date", "end_date", "tz", "event_type", "cursor", "limit"],
    "/events/by-type": ["start", "end", "tz"],
    "/users/1/events": ["event_type", "start", "end", "tz", "cursor", "limit"],
    "/summary": ["start", "end", "tz", "compare"],
    "/timeseries": ["interval", "event_type", "start", "end", "tz", "fields"],
    "/live": ["tz", "fields"],
    "/retention": ["interval", "event_type", "start", "end", "tz"],
    "/paths": ["event_type", "direction", "levels", "limit", "gap", "start", "end", "tz"],
    "/properties": ["event_type", "start", "end", "tz"],
    "/breakdown": ["event_type", "key", "measure", "limit", "metadata.k", "start", "end", "tz"],
    "/export": ["format", "event_type", "start", "end", "tz"],
    "/saved-reports": ["cursor", "limit"],
    "/annotations": ["start", "end", "tz"],
}  # fmt: skip
NEEDED = {"/paths": "event_type=a&", "/breakdown": "event_type=a&key=k&"}


def is_told_why(answer: Any) -> bool:
    """Whether a refusal is a 4xx in the one shape, with a complaint for a 422."""
    if answer.status_code < 400:
        answer.get_data()  # an export is made as it is read
        return True
    problem = answer.get_json()
    told = bool(problem["errors"] if answer.status_code == 422 else problem["detail"])
    return answer.status_code < 500 and told


def test_a_text_in_a_batch_is_no_event_whatever_it_holds(admin: Api) -> None:
    (fate,) = admin.batch(["\x00"])["results"]
    assert {each["field"] for each in fate["errors"]} == {"body"}


@pytest.mark.parametrize("path", BODIES)
def test_a_hostile_value_in_any_field_is_told_why(admin: Api, path: str) -> None:
    for field in BODIES[path]:
        for value in VALUES:
            answer = admin.call("POST", f"/analytics{path}", json={**BODIES[path], field: value})
            assert is_told_why(answer), (field, value, answer.get_json())


def test_a_hostile_member_of_a_batch_costs_only_itself(admin: Api) -> None:
    hostile = [{**EVENT, field: value} for field in EVENT for value in VALUES] + VALUES
    hostile += [{**EVENT, "metadata": {"k": value}} for value in VALUES]
    alone = {key: EVENT[key] for key in ("event_type", "user_id")}
    found = admin.batch([alone, *hostile, alone])
    refused = {each["index"] for each in found["results"]}
    assert not {0, len(hostile) + 1} & refused
    assert all(each["errors"] for each in found["results"] if each["status"] == "rejected")
    total = found["accepted"] + found["duplicates"] + found["rejected"]
    assert total == len(hostile) + 2
    assert admin.get("/analytics/events/by-type")
    assert admin.call("GET", "/analytics/export").get_data()


@pytest.mark.parametrize("path", [*BODIES, "/events/batch"])
def test_a_body_that_does_not_parse_is_refused_as_a_whole(admin: Api, path: str) -> None:
    for data in UNPARSABLE:
        answer = admin.call("POST", f"/analytics{path}", data=data, content_type="application/json")
        assert answer.status_code == 400, (data[:20], answer.get_json())
        assert answer.content_type == "application/problem+json"


def test_lines_that_do_not_parse_are_told_by_their_number(admin: Api) -> None:
    good = json.dumps({"event_type": "a"}).encode()
    lines = [line for line in UNPARSABLE if line.strip()]
    data = b"\n".join([good, *lines, good])
    answer = admin.call(
        "POST", "/analytics/events/batch", data=data, content_type="application/x-ndjson"
    )
    assert answer.status_code == 200
    assert answer.get_json()["accepted"] == 2
    refused = [each["index"] for each in answer.get_json()["results"]]
    assert refused == list(range(1, len(lines) + 1))


@pytest.mark.parametrize("path", QUERIES)
def test_a_hostile_query_is_told_why(admin: Api, path: str) -> None:
    admin.send({"event_type": "a", "user_id": 1, "metadata": {"k": "v"}})
    for name in (*QUERIES[path], "unknown"):
        for text in TEXTS:
            needed = NEEDED.get(path, "")
            answer = admin.call("GET", f"/analytics{path}?{needed}{name}={text}")
            assert is_told_why(answer), (name, text, answer.get_json())


def test_an_id_that_is_none_is_a_404(admin: Api) -> None:
    for number in NO_IDS:
        assert admin.call("GET", f"/analytics/users/{number}/events").status_code == 404
        for path in ("saved-reports", "annotations", "api-keys"):
            assert admin.call("DELETE", f"/analytics/{path}/{number}").status_code == 404


GOOD = b'{"event_type":"a","user_id":1}'
# JSON by its grammar, and no event of ours: each costs itself alone, and is told its field.
NO_EVENTS = {
    "4,301 digits": (b'{"event_type":"a","metadata":{"n":%s}}' % (b"1" * 4301), "metadata"),
    "a million digits": (b'{"event_type":"a","metadata":{"n":[-%s]}}' % (b"9" * 10**6), "metadata"),
    "digits and a point": (b'{"event_type":"a","metadata":{"n":%s.5}}' % (b"1" * 5000), "metadata"),
    "a huge exponent": (b'{"event_type":"a","metadata":{"n":1e999}}', "metadata"),
    "an id of 4,301 digits": (b'{"event_type":"a","user_id":%s}' % (b"1" * 4301), "user_id"),
    "9 levels": (b'{"event_type":"a","metadata":{"n":%s1%s}}' % (b"[" * 8, b"]" * 8), "metadata"),
    "210 levels": (b'{"event_type":"a","metadata":{"n":%s%s}}' % (b"[" * 210, b"]" * 210),
                   "metadata"),
    "2,000 levels": (b'{"event_type":"a","metadata":{"n":%s1%s}}' % (b"[" * 2000, b"]" * 2000),
                     "metadata"),
    "2,000 objects": (
        b'{"event_type":"a","metadata":{"n":%s1%s}}' % (b'{"a":' * 2000, b"}" * 2000), "metadata"),
    "a type of 2,000 levels": (b'{"event_type":%s%s}' % (b"[" * 2000, b"]" * 2000), "event_type"),
    "an unknown deep field": (
        b'{"event_type":"a","what":%s%s}' % (b"[" * 2000, b"]" * 2000), "what"),
    "a lone surrogate": (b'{"event_type":"a","metadata":{"n":"\\ud800"}}', "metadata.n"),
    "a surrogate in a name": (
        b'{"event_type":"a","metadata":{"\\udfff":1}}', "'metadata.\\udfff'"),
    "NUL": (b'{"event_type":"a","metadata":{"n":"\\u0000"}}', "metadata.n"),
}  # fmt: skip
TWICE = b'{"event_type":"a","metadata":{"n":1,"n":2}}'


@pytest.mark.parametrize("name", NO_EVENTS)
def test_what_json_allows_and_events_do_not_costs_its_event_alone(admin: Api, name: str) -> None:
    event, field = NO_EVENTS[name]
    single = admin.call("POST", "/analytics/events", data=event, content_type="application/json")
    if len(event) <= 64 * 1024:
        assert single.status_code == 422
        assert field in [each["field"] for each in single.get_json()["errors"]]
    refused_alone(admin, event, field)


def test_a_name_that_stands_twice_costs_its_event_alone(admin: Api) -> None:
    single = admin.call("POST", "/analytics/events", data=TWICE, content_type="application/json")
    assert single.status_code == 400
    refused_alone(admin, TWICE, "metadata")


def refused_alone(admin: Api, event: bytes, field: str) -> None:
    """Asserts that in a batch of either kind the event is rejected, and no other."""
    bodies = {
        "application/json": b'{"events":[%s]}' % b",".join([GOOD, event, GOOD]),
        "application/x-ndjson": b"\n".join([GOOD, event, GOOD]),
    }
    for kind, data in bodies.items():
        answer = admin.call("POST", "/analytics/events/batch", data=data, content_type=kind)
        assert answer.status_code == 200, answer.get_json()
        found = answer.get_json()
        assert (found["accepted"], found["rejected"]) == (2, 1)
        (fate,) = found["results"]
        assert fate["index"] == 1
        told = {each["field"] for each in fate["errors"]}
        assert field in told or (event is TWICE and told == {"body"})


@pytest.mark.parametrize("path", [path for path in BODIES if path != "/events"])
@pytest.mark.parametrize("value", [b"[" * 2000 + b"]" * 2000, b"1" * 4301])
def test_another_routes_body_is_refused_by_what_it_holds(
    admin: Api, path: str, value: bytes
) -> None:
    data = json.dumps({**BODIES[path], "tz": "@"}).encode().replace(b'"@"', value)
    answer = admin.call("POST", f"/analytics{path}", data=data, content_type="application/json")
    assert answer.status_code == 422
    (error,) = answer.get_json()["errors"]
    assert error == {
        "field": "body", "message": "holds a number or a nesting that is too large"
    }  # fmt: skip


DEEP = b"[" * 3000


@pytest.mark.parametrize(
    "value",
    [DEEP, DEEP + b"," + b"]" * 3000, DEEP + b"NaN" + b"]" * 3000, DEEP + b"]" * 2999 + b"}",
     DEEP + b'"' + b"]" * 3000, DEEP + b"1 1" + b"]" * 3000, b"1" * 5000 + b".", b"0" * 5000,
     b"-", b"+1", b"1" * 5000 + b"e", b"\xff", b"\x00"],
)  # fmt: skip
def test_what_json_does_not_allow_costs_the_whole_body(admin: Api, value: bytes) -> None:
    event = b'{"event_type":"a","metadata":{"n":%s}}' % value
    for path, data in (("", event), ("/batch", b'{"events":[%s]}' % b",".join([GOOD, event]))):
        answer = admin.call(
            "POST", f"/analytics/events{path}", data=data, content_type="application/json"
        )
        assert answer.status_code == 400
    data = b"\n".join([GOOD, event, GOOD])
    answer = admin.call(
        "POST", "/analytics/events/batch", data=data, content_type="application/x-ndjson"
    )
    assert [each["index"] for each in answer.get_json()["results"]] == [1]


def test_complaints_about_one_event_are_a_hundred_at_most(admin: Api) -> None:
    bad = {"event_type": "a", "metadata": {"n": ["\x00"] * 1_000}}
    (fate,) = admin.batch([bad])["results"]
    assert len(fate["errors"]) == 100
    unknown = {"event_type": "a", **{f"x{n}": n for n in range(1_000)}}
    (fate,) = admin.batch([unknown])["results"]
    assert len(fate["errors"]) == 100
