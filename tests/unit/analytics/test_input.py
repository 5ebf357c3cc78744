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
    "/funnel/dropped": {**FUNNEL, "step": 2, "page_size": 5, "cursor": None},
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
