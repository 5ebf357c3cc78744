"""What every app does with requests that are hostile, odd, closed or too many."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from io import BytesIO
from random import Random
from typing import Annotated, Any, ClassVar

import brotli  # type: ignore[import-untyped]
import pytest
from flask import Flask, Response, request
from flask.testing import FlaskClient
from openapi_spec_validator import validate
from pydantic import ValidationError
from structlog.testing import capture_logs

from chassis import api_docs, assemble, limits
from chassis.api import api
from chassis.auth import Caller, caller, public, requires, signed_in
from chassis.client_address import forwarded_headers
from chassis.config import Settings
from chassis.errors import FieldError, Invalid, Unauthenticated, Unavailable, field_errors
from chassis.pagination import PageQuery, decode_cursor, encode_cursor
from chassis.schema import Id, Model, Query, Timestamp, rfc3339
from chassis.visibility import OnlyFor
from tests.servers import BUSY_SECONDS


class ExampleSettings(Settings):
    service: ClassVar[str] = "example"


class Thing(Model):
    number: Id
    name: str = "x"


class ThingQuery(Query):
    prefixed: ClassVar[dict[str, str]] = {"metadata.": "metadata"}
    limit: int = 5
    kind: list[str] = []
    metadata: dict[str, str] = {}


class Figure(Model):
    label: str
    total: Annotated[int | None, OnlyFor("read")] = None


class Report(Model):
    items: list[Figure]
    by_name: dict[str, Figure]
    best: Figure | None
    worst: Figure | None = None
    mean: Annotated[float | None, OnlyFor("write")]
    days: list[int]


class Wish(Model):
    everywhere: bool = False


class ThingForm(Query):
    number: Id


class Refusal(Model):
    error: str


CALLERS = {
    "user": Caller("user", "7", frozenset({"read"}), user_id=7, role="viewer"),
    "service": Caller("service", "users", frozenset({"write"})),
}


def authenticate() -> Caller | None:
    name = request.headers.get("Authorization")
    if name == "bad":
        raise Unauthenticated("The token is not valid here.")
    if name == "unsure":
        raise Unavailable("Nobody can be checked right now.")
    return CALLERS.get(name or "")


class OtherSettings(Settings):
    service: ClassVar[str] = "other"


KINDS = (ExampleSettings, OtherSettings)


def make_client(
    settings: type[Settings] = ExampleSettings, address_secret: str | None = None, **changed: Any
) -> FlaskClient:
    app = Flask(__name__)
    assemble(
        app,
        settings(**changed),
        authenticate=authenticate,
        checks={"database": dict},
        client_address_secret=address_secret,
    )
    register(app)
    api_docs.install(app, title="Example", version="1", description="For tests.")
    return app.test_client()


def register(app: Flask) -> None:
    register_things(app)
    register_answers(app)
    register_callers(app)


def register_things(app: Flask) -> None:
    @app.post("/things")
    @public
    @api(body=Thing, answers={201: Thing})
    def make_thing(body: Thing) -> Thing:
        """Make a thing."""
        return body

    @app.get("/things/<id:thing_id>")
    @public
    @api(query=ThingQuery, answers={200: Thing}, etag=True)
    def read_thing(thing_id: int, query: ThingQuery) -> dict[str, Any]:
        return {"id": thing_id, "padding": "x" * 2000, **query.model_dump()}

    @app.delete("/things/<id:thing_id>")
    @public
    @api(answers={204: None})
    def remove_thing(thing_id: int) -> None:
        return None

    @app.post("/wishes")
    @public
    @api(body=Wish, body_optional=True, answers={202: Wish})
    def take_wish(body: Wish) -> tuple[Wish, int]:
        return body, 203 if body.everywhere else 202

    @app.post("/bytes")
    @public
    @api(body=Thing, body_raw=True, media_types=("text/x-things",), answers={200: None})
    def take_bytes(raw: bytes) -> Response:
        return Response(raw, content_type="text/x-things")

    @app.get("/names/<name>")
    @public
    def read_name(name: str) -> str:
        return name

    @app.post("/forms")
    @public
    @api(form=ThingForm, answers={200: Thing | Refusal}, error_model=Refusal)
    def take_form(form: ThingForm) -> Thing:
        return Thing(number=form.number)


def register_answers(app: Flask) -> None:
    @app.get("/streams")
    @public
    @api(answers={200: None}, answer_types=("text/csv",), etag=True)
    def stream() -> Response:
        return Response((each for each in ("a,", "b")), content_type="text/csv")

    @app.get("/long-stream")
    @public
    @api(answers={200: None}, answer_types=("text/csv",))
    def stream_much() -> Response:
        lines = (random.randbytes(1500).hex() for random in map(Random, range(200)))
        return Response(lines, content_type="text/csv")

    @app.get("/long-refusal")
    @public
    def refuse_much() -> str:
        raise Invalid([FieldError(f"field {n}", "must be another") for n in range(99)])

    @app.get("/soon")
    @public
    @api(answers={200: Thing}, etag=True)
    def soon() -> tuple[list[int], int]:
        return [1, 2], 202

    @app.get("/report")
    @public
    @api(answers={200: Report})
    def read_report() -> dict[str, Any]:
        figure = {"label": "a", "total": 1}
        lists = {"items": [figure, figure], "best": figure, "worst": None, "days": [1, 2]}
        return {**lists, "by_name": {"total": figure}, "mean": 1.5}

    @app.get("/known")
    @public
    @api(answers={200: dict[str, Any]}, any_query=True)
    def known() -> dict[str, Any]:
        return {}

    @app.post("/later")
    @public
    @api(answers={202: None})
    def take_later() -> None:
        return None

    @app.get("/figure")
    @public
    @api(answers={200: Figure | Refusal})
    def read_figure() -> Figure:
        return Figure(label="a", total=1)


def register_callers(app: Flask) -> None:
    @app.get("/mine")
    @signed_in
    def mine() -> str:
        return caller().subject

    @app.get("/whoami")
    @public
    def whoami() -> str:
        return caller().subject

    @app.get("/writers")
    @requires("write")
    def writers() -> str:
        return caller().subject

    @app.get("/either")
    @requires("write", or_user=True)
    def either() -> str:
        return caller().subject

    @app.get("/undeclared")
    def undeclared() -> str:
        return "nobody gets here"

    @app.get("/broken")
    @public
    def broken() -> str:
        raise RuntimeError("the insides")


@pytest.fixture
def client() -> FlaskClient:
    return make_client()


def post(client: FlaskClient, data: bytes | str) -> Any:
    return client.post("/things", data=data, content_type="application/json")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"nonsense", 400),
        (b"[" * 30_000, 400),
        (b'{"a":' * 10_000, 400),
        (b"[]", 400),
        (b"3", 400),
        (b'{"number": NaN}', 400),
        (b'{"number": 1, "number": 2}', 400),
        ('{"number": 1}'.encode("utf-16"), 400),
        (b'{"number": 1, "name": "\xff"}', 400),
        (b'{"number": 1, "name": "\\u0000"}', 422),
        (b'{"number": 1, "name": "\\ud800"}', 422),
        (b'{"number": 1, "\\ud800": 1}', 422),
        (b'{"number": 9223372036854775808}', 422),
        (b'{"number": 1e400}', 422),
        (b'{"number": "1"}', 422),
        (b'{"number": true}', 422),
        (b'{"number": [1]}', 422),
        (b'{"number": {"a": 1}}', 422),
        (b'{"number": 1, "extra": 1}', 422),
        (b"x" * 100_000, 413),
    ],
)
def test_a_hostile_body_is_refused_in_plain_words(
    client: FlaskClient, data: bytes, status: int
) -> None:
    answer = post(client, data)
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    body = json.loads(answer.data)
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == answer.headers["X-Request-ID"]


@pytest.mark.parametrize("depth", range(500, 1000, 20))
def test_deep_nesting_is_a_refusal_however_deep(client: FlaskClient, depth: int) -> None:
    data = b'{"number": 1, "name": ' + b"[" * depth + b"]" * depth + b"}"
    assert post(client, data).status_code in (400, 422)


def test_all_complaints_come_at_once_and_name_their_field(client: FlaskClient) -> None:
    errors = post(client, b'{"number": "x", "name": 3, "extra": 1}').get_json()["errors"]
    assert {each["field"] for each in errors} == {"number", "name", "extra"}


def test_a_complaint_names_the_place_of_a_character_that_no_text_may_hold(
    client: FlaskClient,
) -> None:
    names = b'"\\ud800": {"y": 1}, ".X": "\\u0000"'
    data = b'{"number": ["\\u0000"], "name": {"x": ["ok", "\\udfff"]}, ' + names + b"}"
    errors = post(client, data).get_json()["errors"]
    assert {each["field"] for each in errors} == {"number.0", "name.x.1", r"'\ud800'", ".X"}
    assert {"number.0": "must not contain the NUL character"}.items() <= {
        each["field"]: each["message"] for each in errors
    }.items()


def test_a_character_that_no_text_may_hold_hides_no_other_complaint(client: FlaskClient) -> None:
    for data in (b'{"number": "x", "name": "\\u0000"}', b'{"number": 0, "name": "\\u0000"}'):
        errors = post(client, data).get_json()["errors"]
        assert {each["field"] for each in errors} == {"number", "name"}


def test_a_form_is_read_as_strictly(client: FlaskClient) -> None:
    assert client.post("/forms", data={"number": "5"}).get_json() == {"number": 5, "name": "x"}
    for form in ({}, {"number": "x"}, {"number": "5", "other": "1"}, {"number": ["5", "6"]}):
        assert client.post("/forms", data=form).status_code == 422


@pytest.mark.parametrize("name", ["\ud7ff", "\ue000", "🦆", "é"])
def test_every_text_that_is_unicode_is_taken(client: FlaskClient, name: str) -> None:
    body = json.dumps({"number": 1, "name": name}, ensure_ascii=False)
    for data in (body.encode(), json.dumps({"number": 1, "name": name}).encode()):
        assert post(client, data).get_json() == {"number": 1, "name": name}
    assert client.get("/things/1", query_string={"kind": name}).get_json()["kind"] == [name]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_the_limit_is_read_and_one_byte_more_is_not(chunked: bool) -> None:
    client = make_client(max_body_bytes=1024)
    for length, status in ((1024, 201), (1025, 413)):
        data = b'{"number": 1}'.ljust(length)
        sent: dict[str, Any] = {"input_stream": BytesIO(data)} if chunked else {"data": data}
        if chunked:
            sent["environ_overrides"] = {"wsgi.input_terminated": True}
        assert client.post("/things", content_type="application/json", **sent).status_code == status


@pytest.mark.parametrize(
    ("path", "query", "complaints"),
    [
        ("/things/1", "nonsense=1&limit=x&limit=y", {"nonsense", "limit"}),
        ("/things/1", "x=1&x=2&limit=1&limit=2", {"x", "limit"}),
        ("/report", "nonsense=1", {"nonsense"}),
        ("/report", "limit", {"limit"}),
        ("/streams", "x=", {"x"}),
    ],
)
def test_a_name_that_no_query_knows_is_refused_and_named(
    client: FlaskClient, path: str, query: str, complaints: set[str]
) -> None:
    for method in ("GET", "HEAD"):
        answer = client.open(path, method=method, query_string=query)
        assert answer.status_code == 422
        if method == "GET":
            assert {each["field"] for each in answer.get_json()["errors"]} == complaints
    assert client.options(path, query_string=query).status_code == 200


def test_query_and_body_are_complained_of_at_once(client: FlaskClient) -> None:
    answer = client.post("/things?x=1", json={"number": 0})
    assert {each["field"] for each in answer.get_json()["errors"]} == {"x", "number"}
    assert client.post("/later?x=1").status_code == 422
    assert client.delete("/things/1?x=1").status_code == 422
    assert client.post("/bytes?x=1", data=b"x").status_code == 422


def test_the_document_says_where_a_query_may_be_refused(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").get_json()["paths"]
    assert "422" in paths["/report"]["get"]["responses"]
    assert "422" in paths["/later"]["post"]["responses"]
    assert "422" not in paths["/known"]["get"]["responses"]


def test_where_foreign_programs_call_their_own_names_are_passed_over(client: FlaskClient) -> None:
    assert client.get("/known?anything=1&anything=2").status_code == 200


def test_a_body_may_be_left_out_where_it_says_so(client: FlaskClient) -> None:
    assert client.post("/wishes").get_json() == {"everywhere": False}
    wish = client.post("/wishes", json={"everywhere": True})
    assert (wish.status_code, wish.get_json()) == (203, {"everywhere": True})
    assert client.post("/wishes", json={"everywhere": 1}).status_code == 422
    assert client.post("/things").status_code == 415


def test_bytes_are_passed_on_as_they_came(client: FlaskClient) -> None:
    for data in (b"\x00\xff no JSON", b""):
        answer = client.post("/bytes", data=data)
        assert (answer.data, answer.content_type) == (data, "text/x-things")


def test_an_answer_has_its_status_and_its_type(client: FlaskClient) -> None:
    made, gone = post(client, b'{"number": 1}'), client.delete("/things/1")
    assert (made.status_code, made.content_type) == (201, "application/json")
    assert (gone.status_code, gone.data) == (204, b"")
    later = client.post("/later")
    assert (later.status_code, later.data) == (202, b"")


def test_a_body_that_is_not_json_is_415(client: FlaskClient) -> None:
    assert client.post("/things", data={"number": "1"}).status_code == 415


@pytest.mark.parametrize(
    "path", ["/things/0", "/things/" + "9" * 4000, "/things/9223372036854775808", "/things/-1",
             "/things/%D9%A3", "/names/a%00b"],
)  # fmt: skip
def test_a_path_that_names_nothing_is_404(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 404
    assert client.delete("/things/9223372036854775808").status_code == 404
    assert client.delete("/things/9223372036854775807").status_code == 204


def test_query_strings_are_read_strictly(client: FlaskClient) -> None:
    answer = client.get("/things/1?limit=x&unknown=1&metadata.a=%00")
    fields = {each["field"] for each in answer.get_json()["errors"]}
    assert fields == {"limit", "unknown", "metadata.a"}
    assert client.get("/things/1?limit=1&limit=2").status_code == 422
    assert client.get("/things/1?metadata.=x").status_code == 422
    assert client.get("/things/1?kind%00=x").get_json()["errors"][0]["field"] == r"kind\x00"
    good = client.get("/things/1?kind=a&kind=b&metadata.plan=pro").get_json()
    assert good["kind"] == ["a", "b"]
    assert good["metadata"] == {"plan": "pro"}


def test_a_view_without_a_declaration_is_closed_to_all(client: FlaskClient) -> None:
    assert client.get("/undeclared").status_code == 401
    for name in CALLERS:
        assert client.get("/undeclared", headers={"Authorization": name}).status_code == 403


@pytest.mark.parametrize(
    ("path", "who", "status"),
    [
        ("/mine", None, 401),
        ("/mine", "bad", 401),
        ("/mine", "user", 200),
        ("/mine", "service", 403),
        ("/writers", "user", 403),
        ("/writers", "service", 200),
        ("/either", "user", 200),
        ("/either", "service", 200),
        ("/either", None, 401),
    ],
)
def test_a_declaration_decides_who_comes_in(
    client: FlaskClient, path: str, who: str | None, status: int
) -> None:
    headers = {"Authorization": who} if who else {}
    answer = client.get(path, headers=headers)
    assert answer.status_code == status
    assert (answer.headers.get("WWW-Authenticate") is not None) == (status == 401)


def test_what_is_wrong_with_a_credential_is_what_is_answered(client: FlaskClient) -> None:
    for name, status, detail in (
        ("bad", 401, "The token is not valid here."),
        ("unsure", 503, "Nobody can be checked right now."),
    ):
        answer = client.get("/mine", headers={"Authorization": name})
        assert (answer.status_code, answer.get_json()["detail"]) == (status, detail)


def test_a_bad_credential_closes_no_open_route(client: FlaskClient) -> None:
    assert post(client, b'{"number": 1}').status_code == 201
    for name in ("bad", "unsure"):
        headers = {"Authorization": name}
        assert client.get("/names/x", headers=headers).status_code == 200
        assert client.get("/whoami", headers=headers).status_code == 401


def test_an_open_view_that_wants_a_caller_refuses_strangers(client: FlaskClient) -> None:
    assert client.get("/whoami").status_code == 401
    assert client.get("/whoami", headers={"Authorization": "user"}).data == b"7"


def test_nobody_is_looked_up_for_what_no_view_answers() -> None:
    looked_up = []
    app = Flask(__name__)
    assemble(app, ExampleSettings(), authenticate=lambda: looked_up.append(request.path), checks={})
    register(app)
    client = app.test_client()
    assert client.get("/no/such/path").status_code == 404
    assert client.options("/mine").status_code == 200
    assert looked_up == []
    assert client.get("/mine").status_code == 401
    assert looked_up == ["/mine"]


def test_strangers_are_answered_as_the_app_says() -> None:
    app = Flask(__name__)
    assemble(
        app,
        ExampleSettings(),
        authenticate=authenticate,
        checks={},
        on_anonymous=lambda: ("sign in", 303),
    )
    register(app)
    client = app.test_client()
    assert (client.get("/mine").status_code, client.get("/mine").data) == (303, b"sign in")
    assert client.get("/names/x").data == b"x"
    assert client.get("/writers", headers={"Authorization": "user"}).status_code == 403


def test_who_is_no_user_has_no_account_role_or_session() -> None:
    program = Caller("key", "7", frozenset())
    assert (program.user_id, program.role, program.session_id) == (None, "", None)


@pytest.mark.parametrize(
    ("who", "total", "mean"), [(None, None, None), ("user", 1, None), ("service", None, 1.5)]
)
def test_a_field_that_is_for_some_is_null_for_others_wherever_it_stands(
    client: FlaskClient, who: str | None, total: int | None, mean: float | None
) -> None:
    headers = {"Authorization": who} if who else {}
    figure = {"label": "a", "total": total}
    assert client.get("/figure", headers=headers).get_json() == figure
    report = client.get("/report", headers=headers).get_json()
    assert report.pop("by_name") == {"total": figure}
    assert report == {
        "items": [figure, figure],
        "best": figure,
        "worst": None,
        "days": [1, 2],
        "mean": mean,
    }


def test_the_document_says_for_whom_a_field_is(client: FlaskClient) -> None:
    schemas = client.get("/openapi.json").get_json()["components"]["schemas"]
    for name, field, scope in (("Figure", "total", "read"), ("Report", "mean", "write")):
        described = schemas[name]["properties"][field]["description"]
        assert described == f"null without the scope {scope}"


def test_a_bug_answers_500_without_its_insides(client: FlaskClient) -> None:
    answer = client.get("/broken")
    assert answer.status_code == 500
    assert b"insides" not in answer.data


@pytest.mark.parametrize("given", ["a" * 65, "a b", "a\u00e9", ""])
def test_an_odd_request_id_is_replaced(client: FlaskClient, given: str) -> None:
    answered = client.get("/health", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert answered != given
    assert len(answered) == 32


def test_a_good_request_id_is_kept(client: FlaskClient) -> None:
    answer = client.get("/health", headers={"X-Request-ID": "trace-1.a_B"})
    assert answer.headers["X-Request-ID"] == "trace-1.a_B"


def test_made_up_methods_and_paths_do_not_become_metric_labels(client: FlaskClient) -> None:
    client.open("/things", method="PWN3D")
    client.get("/no/such/path-pwn3d")
    text = client.get("/metrics").get_data(as_text=True)
    assert "PWN3D" not in text
    assert "pwn3d" not in text
    assert 'url_rule="unmatched"' in text


def test_an_unknown_method_is_405(client: FlaskClient) -> None:
    assert client.open("/things", method="PWN3D").status_code == 405
    assert client.delete("/things").headers["Allow"]


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "CONNECT"])
def test_trace_is_refused_and_repeats_nothing(client: FlaskClient, method: str) -> None:
    answer = client.open("/things", method=method, headers={"Authorization": "Bearer a-secret"})
    assert answer.status_code == 405
    assert "secret" not in answer.get_data(as_text=True)


def test_a_refusal_is_logged_with_its_caller(client: FlaskClient) -> None:
    for who, status in (("user", 403), (None, 401)):
        with capture_logs() as lines:
            answer = client.get("/writers", headers={"Authorization": who} if who else {})
        assert answer.status_code == status
        assert (lines[-1]["status"], lines[-1]["route"]) == (status, "/writers")
        assert lines[-1]["caller"] == ("user:7" if who else None)


def test_answers_are_compressed_and_revalidated(client: FlaskClient) -> None:
    first = client.get("/things/1", headers={"Accept-Encoding": "gzip"})
    assert first.headers["Content-Encoding"] == "gzip"
    assert first.headers["ETag"].startswith("W/"), "compressed, the bytes are others"
    assert first.headers["Cache-Control"] == "private, no-cache"
    again = client.get("/things/1", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert again.data == b""
    other = client.get("/things/2", headers={"If-None-Match": first.headers["ETag"]})
    assert other.status_code == 200
    for_changes = client.get("/things/1", headers={"If-Match": '"another"'})
    assert for_changes.status_code == 200


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("br", "br"),
        ("gzip, br", "br"),
        ("br;q=0.5, gzip", "gzip"),
        ("br; q=0.2, gzip; q=0.5", "gzip"),
        ("*", "br"),
        ("br;q=0, *", "gzip"),
        ("gzip;q=0", None),
        ("gzip; q=0.000", None),
        ("gzip;q=0, *", "br"),
        ("*;q=0", None),
        ("gzip, *;q=0", "gzip"),
        ("identity", None),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip", "gzip"),
        ("deflate, zstd", None),
        ("GZIP", "gzip"),
        ("", None),
        (None, None),
    ],
)
@pytest.mark.parametrize("path", ["/things/1", "/long-stream", "/long-refusal"])
def test_answers_streams_and_problems_go_out_as_is_accepted(
    client: FlaskClient, path: str, accepted: str | None, coding: str | None
) -> None:
    plain = client.get(path)
    asked = {} if accepted is None else {"Accept-Encoding": accepted}
    for method in ("GET", "HEAD"):
        answer = client.open(path, method=method, headers=asked)
        assert answer.status == plain.status
        assert answer.headers.get("Content-Encoding") == coding
        assert "Accept-Encoding" in answer.headers["Vary"]
        assert answer.content_type == plain.content_type
        if method == "GET":
            read = {"gzip": gzip.decompress, "br": brotli.decompress, None: bytes}[coding]
            assert len(read(answer.data)) == len(plain.data)  # a request id is as long in each


def test_what_is_short_goes_out_as_it_is(client: FlaskClient) -> None:
    for path in ("/nowhere", "/report"):
        answer = client.get(path, headers={"Accept-Encoding": "gzip"})
        assert "Content-Encoding" not in answer.headers


def test_a_long_stream_is_compressed_as_it_comes(client: FlaskClient) -> None:
    answer = client.get("/long-stream", headers={"Accept-Encoding": "gzip"}, buffered=False)
    assert "Content-Length" not in answer.headers
    pieces = list(answer.iter_encoded())
    assert len(pieces) > 10
    assert max(map(len, pieces)) < 100_000


def test_only_a_whole_answer_of_a_route_with_tags_has_one(client: FlaskClient) -> None:
    streamed, soon, untagged = (client.get(path) for path in ("/streams", "/soon", "/report"))
    assert (streamed.data, soon.get_json()) == (b"a,b", [1, 2])
    for answer in (streamed, soon, untagged):
        assert "ETag" not in answer.headers
        assert answer.headers["Cache-Control"] == "no-store"


def test_calls_over_the_limit_are_429_for_that_caller_alone() -> None:
    client = make_client(api_calls_per_minute=3)
    statuses = [
        client.get("/mine", headers={"Authorization": "user"}).status_code for _ in range(5)
    ]
    assert statuses == [200, 200, 200, 429, 429]
    limited = client.get("/mine", headers={"Authorization": "user"})
    assert 30 < int(limited.headers["Retry-After"]) <= 61, "the rest of the minute"
    assert "ratelimit" not in str(limited.headers).lower()
    assert client.get("/writers", headers={"Authorization": "service"}).status_code == 200
    assert client.get("/health").status_code == 200


def test_calls_beside_flask_count_as_many_as_they_are_and_with_the_others() -> None:
    client = make_client(api_calls_per_minute=10)
    count = limits.counter(client.application)
    assert count(CALLERS["user"], 4)
    assert client.get("/mine", headers={"Authorization": "user"}).status_code == 200
    assert [count(CALLERS["user"], calls) for calls in (5, 1)] == [True, False]
    assert client.get("/mine", headers={"Authorization": "user"}).status_code == 429
    assert count(CALLERS["service"], 10)


def test_without_a_limit_calls_are_not_counted() -> None:
    client = make_client(api_calls_per_minute=0)
    assert {client.get("/names/x").status_code for _ in range(50)} == {200}


def test_an_address_that_the_dashboard_vouches_for_is_counted_by_itself() -> None:
    client = make_client(api_calls_per_minute=1, address_secret="a secret of this test")
    for address in ("203.0.113.1", "203.0.113.2"):
        headers = forwarded_headers(address, "a secret of this test")
        for status in (200, 429):
            assert client.get("/names/x", headers=headers).status_code == status
    assert client.get("/names/x").status_code == 200


def test_two_services_on_one_redis_count_for_themselves(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REDIS_SECONDS", limits.REDIS_SECONDS + BUSY_SECONDS)
    clients = [make_client(kind, api_calls_per_minute=1, redis_url=redis_url) for kind in KINDS]
    for client in clients:
        assert [client.get("/names/x").status_code for _ in range(2)] == [200, 429]


def test_cors_answers_the_configured_origins_only() -> None:
    client = make_client(cors_origins="https://good.example")
    good = client.get("/mine", headers={"Origin": "https://good.example"})
    assert good.headers["Access-Control-Allow-Origin"] == "https://good.example"
    bad = client.get("/mine", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in bad.headers
    none = make_client().get("/mine", headers={"Origin": "https://good.example"})
    assert "Access-Control-Allow-Origin" not in none.headers


def test_the_openapi_document_is_valid_and_complete(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    validate(document)
    assert document["paths"]["/things"]["post"]["requestBody"]["required"] is True
    reading = document["paths"]["/things/{thing_id}"]["get"]
    names = [each["name"] for each in reading["parameters"]]
    assert (names[0], names[-1]) == ("thing_id", "If-None-Match")
    assert {"200", "304", "404", "414", "422", "429"} <= set(reading["responses"])
    for path, method, sent, answered in (
        ("/things", "post", "application/json", ("201", "application/json")),
        ("/bytes", "post", "text/x-things", None),
        ("/wishes", "post", "application/json", ("202", "application/json")),
    ):
        written = document["paths"][path][method]
        assert list(written["requestBody"]["content"]) == [sent]
        if answered:
            assert list(written["responses"][answered[0]]["content"]) == [answered[1]]
    assert document["paths"]["/wishes"]["post"]["requestBody"]["required"] is False


def test_the_document_is_written_once_however_often_strangers_ask(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    document = api_docs.document
    monkeypatch.setattr(
        api_docs, "document", lambda *given: (made.append("once"), document(*given))[1]
    )
    first, page = (client.get(path).data for path in ("/openapi.json", "/docs"))
    prefixed = {"X-Forwarded-Prefix": "/elsewhere", "Host": "elsewhere"}
    assert client.get("/openapi.json", headers=prefixed).data == first
    assert client.get("/docs", headers=prefixed).data == page
    assert made == ["once"]


def test_the_openapi_document_knows_unions_and_a_routes_own_errors(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    responses = document["paths"]["/forms"]["post"]["responses"]
    assert len(responses["200"]["content"]["application/json"]["schema"]["anyOf"]) == 2
    assert list(responses["400"]["content"]) == ["application/json"]
    assert responses["414"] == {"$ref": "#/components/responses/UriTooLong"}
    shared = document["components"]["responses"]["UriTooLong"]
    assert list(shared["content"]) == ["application/problem+json"]
    assert "422" not in responses


def test_the_reading_page_needs_no_other_host(client: FlaskClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "http://" not in page.get_data(as_text=True)
    assert "https://" not in page.get_data(as_text=True)


class NamedThing(Model):
    number: Id
    name: str
    made: Timestamp


class ThingsQuery(PageQuery):
    listed = "things"
    item = NamedThing
    place: ClassVar[dict[str, type]] = {"made": datetime, "number": int}


MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def test_cursors_come_back_as_given_and_others_are_refused() -> None:
    place = (MOMENT.isoformat(), 5, "a")
    taken = decode_cursor(encode_cursor("x", *place), "x", datetime, int, str)
    assert taken == (MOMENT, 5, "a")
    others = ("", "x", "é", encode_cursor("x"), encode_cursor("x", 5), encode_cursor("x", 1, 2))
    foreign = encode_cursor("y", *place)
    for bad in (*others, foreign, encode_cursor("x", MOMENT.isoformat(), 2**63, "a"), "W10", "Mw"):
        with pytest.raises(ValueError, match="not one that this list gave"):
            decode_cursor(bad, "x", datetime, int, str)


def named_thing(number: int) -> dict[str, Any]:
    return {"number": number, "name": "x", "made": rfc3339(MOMENT)}


def test_a_page_ends_with_where_the_next_begins() -> None:
    query = ThingsQuery.model_validate({"limit": "2", "fields": "name, number"})
    page = query.page([5, 4, 3], named_thing)
    assert page["items"] == [{"name": "x", "number": 5}, {"name": "x", "number": 4}]
    onward = ThingsQuery.model_validate({"limit": "2", "cursor": page["next_cursor"]})
    assert onward.after() == (MOMENT, 4)
    assert onward.page([3, 2], named_thing)["next_cursor"] is None
    assert query.after() is None


@pytest.mark.parametrize("fields", ["nope", "name,nope", "", ","])
def test_a_field_that_no_item_has_is_named_with_those_there_are(fields: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ThingsQuery.model_validate({"fields": fields, "cursor": "x", "limit": "0"})
    said = {each.field: each.message for each in field_errors(refused.value)}
    assert set(said) == {"fields", "cursor", "limit"}
    assert "number, name, made" in said["fields"]
    assert ("nope" in said["fields"]) == ("nope" in fields)
