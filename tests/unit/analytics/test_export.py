"""An export holds every event, and another installation takes it back."""

from __future__ import annotations

import csv
import gzip
import io
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from analytics_app.listing import Filter
from analytics_app.routes import export as exports
from chassis.errors import Unavailable
from tests.unit.analytics.conftest import Api, MakeApp, user_token


def an_event(n: int, **given: Any) -> dict[str, Any]:
    return {
        "event_type": f"kind.{n % 3}",
        "created_at": f"2026-05-{1 + n % 28:02}T10:00:00.{n:06}Z",
        "event_id": str(uuid.uuid4()),
        "metadata": {"n": n, "text": 'quote " comma , ü \\ \n line', "nested": {"a": [1, None]}},
        **given,
    }


def exported(api: Api, **query: Any) -> list[dict[str, Any]]:
    answer = api.call("GET", "/analytics/export", query_string=query)
    assert answer.status_code == 200
    assert answer.content_type == "application/x-ndjson"
    return [json.loads(line) for line in answer.get_data(as_text=True).splitlines()]


def test_an_ndjson_line_holds_exactly_what_batch_takes(admin: Api) -> None:
    sent = [an_event(1, user_id=5), an_event(2), an_event(3, visitor_id="v", metadata={})]
    admin.batch(sent)
    lines = {line["event_id"]: line for line in exported(admin)}
    fields = {"event_id", "event_type", "user_id", "metadata", "created_at"}
    assert lines[sent[0]["event_id"]] == sent[0]
    assert lines[sent[1]["event_id"]] == {**sent[1], "user_id": None}
    assert set(lines[sent[2]["event_id"]]) == fields | {"actor"}
    assert lines[sent[2]["event_id"]]["actor"] < 0


@pytest.mark.parametrize("kind", ["ndjson", "csv"])
def test_an_export_is_compressed_for_who_takes_gzip_alone(admin: Api, kind: str) -> None:
    admin.batch([an_event(n, user_id=n % 5 + 1) for n in range(3_000)])
    query, path = {"format": kind}, "/analytics/export"
    plain = admin.call("GET", path, query_string=query, buffered=True)
    headers = {"Accept-Encoding": "gzip"}
    answer = admin.call("GET", path, query_string=query, headers=headers, buffered=True)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in answer.headers["Vary"]
    assert sorted(gzip.decompress(answer.data).splitlines()) == sorted(plain.data.splitlines())
    if kind == "ndjson":
        headers = {"Content-Encoding": "gzip"}
        path = "/analytics/events/batch"
        given = {"content_type": "application/x-ndjson", "headers": headers}
        again = admin.call("POST", path, data=answer.data, **given)
        assert again.get_json()["duplicates"] == 3_000


def test_csv_reads_back_as_it_was(admin: Api) -> None:
    sent = an_event(1, user_id=5)
    admin.batch([sent])
    answer = admin.call("GET", "/analytics/export", query_string={"format": "csv"})
    (row,) = csv.DictReader(io.StringIO(answer.get_data(as_text=True)))
    assert row["event_id"] == sent["event_id"]
    assert json.loads(row["metadata"]) == sent["metadata"]
    assert (row["user_id"], row["actor"], row["created_at"]) == ("5", "", sent["created_at"])


def test_csv_holds_no_formula(admin: Api) -> None:
    kinds = [f"{begin}A1:B2" for begin in "Aa0_.:-"] + ["-", "-1", "--x", "-SUM"]
    admin.batch([an_event(n, event_type=kind) for n, kind in enumerate(kinds)])
    answer = admin.call("GET", "/analytics/export", query_string={"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))
    assert {row["event_type"].removeprefix("'") for row in rows} == set(kinds)
    for row in rows:
        assert row["event_type"][0] != "-"
        assert row["metadata"][0] == "{"
        for name in ("event_id", "user_id", "created_at"):
            assert not row[name] or row[name][0].isalnum()


def test_an_export_narrows_by_time_type_and_user(admin: Api) -> None:
    admin.batch([an_event(n, user_id=n % 2 + 1) for n in range(12)])
    assert len(exported(admin)) == 12
    assert len(exported(admin, start="2026-05-02", end="2026-05-04")) == 2
    assert len(exported(admin, event_type="kind.0")) == 4
    assert len(exported(admin, user_id=1)) == 6
    assert exported(admin, start="2027-01-01") == []


@pytest.fixture
def another(new_postgres_database: Callable[[], str], make_app: MakeApp) -> Api:
    """Calls another, empty installation as an admin."""
    app = make_app(analytics_database_url=new_postgres_database())
    return Api(app.test_client(), user_token(1, "admin"))


def test_another_installation_gives_the_same_reports(another: Api, make_app: MakeApp) -> None:
    app = make_app()
    admin = Api(app.test_client(), user_token(1, "admin"))
    people: list[dict[str, Any]] = [{"user_id": 5}, {"visitor_id": "a"}, {"visitor_id": "b"}, {}]
    admin.batch([an_event(n, **people[n % 4]) for n in range(500)])
    lines = admin.call("GET", "/analytics/export").get_data()
    for _ in range(2):
        another.call(
            "POST", "/analytics/events/batch", data=lines, content_type="application/x-ndjson"
        )
    query = {"start": "2026-05-01", "end": "2026-06-01", "tz": "Asia/Kathmandu"}
    expected = admin.get("/analytics/summary", **query)
    assert expected["unique_users"] == 3
    assert another.get("/analytics/summary", **query) == expected
    counted = admin.get("/analytics/events/by-type")
    assert another.get("/analytics/events/by-type") == counted


def test_an_actor_is_taken_back_from_trusted_senders_alone(admin: Api, viewer: Api) -> None:
    assert admin.batch([an_event(1, actor=-5)])["accepted"] == 1
    assert viewer.batch([an_event(1, actor=-5)])["rejected"] == 1
    refused = admin.batch([an_event(1, actor=5), an_event(2, actor=-5, user_id=1)])
    assert refused["rejected"] == 2


def test_two_exports_run_at_a_time_and_the_next_is_told_to_wait(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{exports.__name__}.export.chunks", lambda *_: iter([b"1", b"2"]))
    monkeypatch.setattr(exports, "note", lambda *_: None)
    with app.test_request_context("/analytics/export"):
        both = [exports.stream(Filter(), "ndjson") for _ in range(2)]
        assert [next(each) for each in both] == [b"1", b"1"]
        with pytest.raises(Unavailable, match="Two exports") as refused:
            next(exports.stream(Filter(), "ndjson"))
        assert int(refused.value.headers["Retry-After"]) >= 1
        both[0].close()  # as when a client leaves in the middle
        assert list(exports.stream(Filter(), "ndjson")) == [b"1", b"2"]
        assert list(both[1]) == [b"2"]
