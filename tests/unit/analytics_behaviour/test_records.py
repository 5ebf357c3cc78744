"""Saved reports and annotations: kept, listed, and deleted by the right people."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from tests.unit.analytics.conftest import Api, user_token


def saved(api: Api, **given: Any) -> Any:
    body = {"name": "Signup funnel", "report": "funnels", "query": "?step=a&step=b", **given}
    return api.call("POST", "/analytics/saved-reports", json=body)


def noted(api: Api, **given: Any) -> Any:
    body = {"day": "2026-03-01", "text": "Release 2.0", **given}
    return api.call("POST", "/analytics/annotations", json=body)


def test_a_saved_report_is_seen_by_everybody(viewer: Api, analyst: Api) -> None:
    made = saved(viewer).get_json()
    assert made["query"] == "step=a&step=b"
    assert made["created_by"] == 3
    assert analyst.get("/analytics/saved-reports")["items"] == [made]
    assert analyst.get(f"/analytics/saved-reports/{made['id']}") == made


def test_only_its_maker_or_an_admin_deletes_a_saved_report(
    viewer: Api, analyst: Api, admin: Api
) -> None:
    first, second = (saved(viewer).get_json()["id"] for _ in range(2))
    path = "/analytics/saved-reports/{}"
    assert analyst.call("DELETE", path.format(first)).status_code == 403
    assert viewer.call("DELETE", path.format(first)).status_code == 204
    assert admin.call("DELETE", path.format(second)).status_code == 204
    assert viewer.call("GET", path.format(second)).status_code == 404
    assert viewer.call("DELETE", path.format(second)).status_code == 404


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": "  "}, "name"),
        ({"report": "taxes"}, "report"),
        ({"query": "x" * 4001}, "query"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "a\r\nb"}, "name"),
        ({"name": "a\u2028b"}, "name"),
        ({"query": "range=7d\r\nSet-Cookie: a=b"}, "query"),
        ({"query": "a=\x7f"}, "query"),
        ({"extra": 1}, "extra"),
    ],
)
def test_what_can_not_be_saved_is_named(viewer: Api, given: dict[str, Any], field: str) -> None:
    answer = saved(viewer, **given)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.get_json()["errors"]] == [field]


def test_saved_reports_come_in_pages(viewer: Api) -> None:
    made = [saved(viewer, name=f"Report {n}").get_json()["id"] for n in range(5)]
    first = viewer.get("/analytics/saved-reports", limit=3, fields="id")
    rest = viewer.get("/analytics/saved-reports", limit=3, fields="id", cursor=first["next_cursor"])
    assert [item["id"] for item in first["items"] + rest["items"]] == made[::-1]
    assert rest["next_cursor"] is None


def test_a_program_with_a_writing_key_marks_a_release(app: Flask, admin: Api, viewer: Api) -> None:
    key = admin.call(
        "POST", "/analytics/api-keys", json={"name": "deploy", "scopes": ["events:write"]}
    ).get_json()["key"]
    made = noted(Api(app.test_client(), key))
    assert made.status_code == 201
    assert made.get_json()["created_by"] is None
    assert viewer.get("/analytics/annotations")["items"] == [made.get_json()]


def test_neither_viewers_nor_reading_keys_write_notes(app: Flask, admin: Api, viewer: Api) -> None:
    key = admin.call(
        "POST", "/analytics/api-keys", json={"name": "reader", "scopes": ["events:read"]}
    ).get_json()["key"]
    assert noted(viewer).status_code == 403
    assert noted(Api(app.test_client(), key)).status_code == 403


def test_notes_are_listed_by_day_and_range(analyst: Api) -> None:
    days = ["2026-03-05", "2026-03-01", "2026-03-05", "2026-04-01", "2026-02-28"]
    for number, day in enumerate(days):
        noted(analyst, day=day, text=f"note {number}")
    asked = {"start": "2026-03-01", "end": "2026-04-01"}
    found = analyst.get("/analytics/annotations", **asked)["items"]
    assert [note["text"] for note in found] == ["note 2", "note 0", "note 1"]
    page = analyst.get("/analytics/annotations", limit=2, **asked)
    rest = analyst.get("/analytics/annotations", limit=2, cursor=page["next_cursor"], **asked)
    assert page["items"] + rest["items"] == found


@pytest.mark.parametrize("day", ["2026-02-30", "yesterday", "2026-2-1", "2026-01-01T00:00:00Z"])
def test_a_day_that_is_none_is_refused(analyst: Api, day: str) -> None:
    answer = noted(analyst, day=day)
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["field"] == "day"


def test_a_note_is_one_line(analyst: Api) -> None:
    answer = noted(analyst, text="Release\n2.0")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.get_json()["errors"]] == ["text"]


def test_only_its_author_or_an_admin_deletes_a_note(app: Flask, analyst: Api, admin: Api) -> None:
    made = noted(analyst).get_json()["id"]
    other = Api(app.test_client(), user_token(77, "analyst"))
    assert other.call("DELETE", f"/analytics/annotations/{made}").status_code == 403
    assert admin.call("DELETE", f"/analytics/annotations/{made}").status_code == 204
    assert analyst.call("DELETE", f"/analytics/annotations/{made}").status_code == 404
