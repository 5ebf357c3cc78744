"""What every answer says beside its figures, and what it needs raw events for."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from analytics_app.models import Bookkeeping, db
from analytics_app.zones import moment_at
from tests.unit.analytics.conftest import Api

RANGE = {"start": "2026-05-01", "end": "2026-05-03", "tz": "Asia/Kathmandu"}
STEPS = {"steps": [{"event_type": "a"}, {"event_type": "b"}], "window": "7d"}
QUESTIONS: dict[str, dict[str, Any]] = {
    "funnel": STEPS,
    "funnel/dropped": {**STEPS, "step": 2},
    "retention": {"interval": "day"},
    "paths": {"event_type": "a"},
    "properties": {},
    "breakdown": {"event_type": "a", "key": "k"},
}


def ask(api: Api, name: str, **asked: Any) -> Any:
    question = {**QUESTIONS[name], **RANGE, **asked}
    given = {"json": question} if name.startswith("funnel") else {"query_string": question}
    method = "POST" if name.startswith("funnel") else "GET"
    return api.call(method, f"/analytics/{name}", **given)


def retention_was(api: Api) -> None:
    api.send({"event_type": "a", "user_id": 1, "created_at": "2026-05-02T10:00:00Z"})
    db.session.execute(update(Bookkeeping).values(dropped_before=moment_at(1_790_000_000_000_000)))
    db.session.commit()


@pytest.mark.parametrize("name", QUESTIONS)
def test_an_answer_says_which_range_it_is_about(admin: Api, name: str) -> None:
    found = ask(admin, name).get_json()
    assert (found["start"], found["end"], found["tz"]) == (
        "2026-04-30T18:15:00Z",
        "2026-05-02T18:15:00Z",
        "Asia/Kathmandu",
    )


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("retention", {}, {"interval": "day", "event_type": []}),
        ("retention", {"event_type": "a"}, {"interval": "day", "event_type": ["a"]}),
        ("paths", {}, {"event_type": "a", "direction": "after", "gap_seconds": None}),
        ("paths", {"direction": "before", "gap": "30m"},
         {"event_type": "a", "direction": "before", "gap_seconds": 1800}),
        ("breakdown", {}, {"event_type": "a", "key": "k", "measure": "k"}),
        ("breakdown", {"measure": "n"}, {"event_type": "a", "key": "k", "measure": "n"}),
    ],
)  # fmt: skip
def test_an_answer_says_what_was_asked(
    admin: Api, name: str, asked: dict[str, str], said: dict[str, Any]
) -> None:
    found = ask(admin, name, **asked).get_json()
    assert {key: found[key] for key in said} == said


@pytest.mark.parametrize(
    ("name", "field"), [("funnel", "window"), ("funnel/dropped", "window"), ("paths", "gap")]
)
def test_a_length_of_time_that_is_none_is_named(admin: Api, name: str, field: str) -> None:
    answer = ask(admin, name, **{field: "soon"})
    assert [each["field"] for each in answer.get_json()["errors"]] == [field]


@pytest.mark.parametrize("name", [name for name in QUESTIONS if not name.startswith("funnel")])
def test_an_answer_one_has_is_not_sent_again(admin: Api, name: str) -> None:
    first = ask(admin, name)
    known = {"If-None-Match": first.headers["ETag"]}
    query = {**QUESTIONS[name], **RANGE}
    again = admin.call("GET", f"/analytics/{name}", query_string=query, headers=known)
    assert (again.status_code, again.get_data()) == (304, b"")


@pytest.mark.parametrize("name", QUESTIONS)
def test_what_needs_events_that_were_dropped_is_refused(admin: Api, name: str) -> None:
    retention_was(admin)
    answer = ask(admin, name, event_type="a") if name == "retention" else ask(admin, name)
    assert answer.status_code == 422
    (error,) = answer.get_json()["errors"]
    assert error["field"] == "start"
    assert "2026-09-21" in error["message"]


def test_who_came_back_is_known_for_ever_but_not_of_parts_of_a_quarter_hour(admin: Api) -> None:
    retention_was(admin)
    answer = ask(admin, "retention")
    assert answer.get_json()["cohorts"][1]["users"] == 1
    ragged = {"start": "2026-05-01T00:07:00Z", "end": "2026-05-03T00:00:00Z"}
    assert ask(admin, "retention", **ragged).status_code == 422


def test_the_document_names_every_refusal(admin: Api) -> None:
    paths = admin.get("/openapi.json")["paths"]
    for name in QUESTIONS:
        (operation,) = paths[f"/analytics/{name}"].values()
        wanted = {"200", "401", "403", "422", "429", "503"}
        assert wanted <= operation["responses"].keys(), name
