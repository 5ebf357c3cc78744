"""Bodies that the sender compressed: decoded within the limit, or refused with the reason."""

from __future__ import annotations

import gzip
import json
import zlib
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient

from chassis.content_coding import MAX_MEMBERS, decoded
from chassis.errors import BadRequest, TooLarge
from tests.unit.chassis.test_http import make_client

BODY = json.dumps({"number": 1, "name": "é" * 50}).encode()
WHOLE = gzip.compress(BODY, mtime=0)  # the names of tests must not hold the time


@pytest.fixture
def client() -> FlaskClient:
    return make_client(max_body_bytes=2048)


def post(client: FlaskClient, data: bytes, coding: str, **given: Any) -> Any:
    headers = {"Content-Encoding": coding}
    return client.post(
        "/things", data=data, content_type="application/json", headers=headers, **given
    )


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", " gzip ", "identity, gzip"])
def test_a_gzip_body_is_read_as_what_was_compressed(client: FlaskClient, coding: str) -> None:
    assert post(client, WHOLE, coding).get_json() == json.loads(BODY)


@pytest.mark.parametrize("coding", ["identity", "", "Identity", "identity, identity"])
def test_identity_is_no_coding(client: FlaskClient, coding: str) -> None:
    assert post(client, BODY, coding).get_json() == json.loads(BODY)


@pytest.mark.parametrize(
    "coding", ["br", "deflate", "zstd", "compress", "gzip, gzip", "gzip, br", "gzip;q=1", "x", "*"]
)
def test_any_other_coding_is_refused_with_what_is_taken(client: FlaskClient, coding: str) -> None:
    answer = post(client, WHOLE, coding)
    assert answer.status_code == 415
    assert answer.headers["Accept-Encoding"] == "gzip"
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize(
    "data",
    [
        BODY,
        WHOLE[:-1],
        WHOLE[:-8],
        WHOLE[:5],
        WHOLE + b"x",
        WHOLE + b"\0" * 8,
        WHOLE + WHOLE[:10],
        WHOLE[:-6] + b"\0\0" + WHOLE[-4:],
        zlib.compress(BODY),
        b"\x1f\x8b",
    ],
)
def test_what_is_no_whole_gzip_is_a_400(client: FlaskClient, data: bytes) -> None:
    assert post(client, data, "gzip").status_code == 400


def test_several_members_are_one_body(client: FlaskClient) -> None:
    halves = gzip.compress(BODY[:20]) + gzip.compress(b"") + gzip.compress(BODY[20:])
    assert post(client, halves, "gzip").get_json() == json.loads(BODY)


def test_an_empty_body_is_empty_whatever_it_is_called(client: FlaskClient) -> None:
    headers = {"Content-Encoding": "gzip"}
    assert client.post("/wishes", headers=headers).get_json() == {"everywhere": False}
    assert client.post("/wishes", headers=headers, data=gzip.compress(b"")).status_code == 202
    assert post(client, b"", "gzip").status_code == 400
    assert client.get("/things/1", headers=headers).status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("over", [0, 1])
def test_the_limit_holds_on_what_comes_out(over: int, chunked: bool) -> None:
    client = make_client(max_body_bytes=1024)
    data = gzip.compress(b'{"number": 1}'.ljust(1024 + over))
    sent: dict[str, Any] = {"data": data}
    if chunked:
        sent = {
            "input_stream": BytesIO(data),
            "environ_overrides": {"wsgi.input_terminated": True},
        }
    answer = client.post(
        "/things",
        content_type="application/json",
        headers={"Content-Encoding": "gzip"},
        **sent,
    )
    assert answer.status_code == (413 if over else 201)


class Watched(BytesIO):
    """A body that notes how much of it was read."""

    asked = 0

    def read(self, size: int | None = -1) -> bytes:
        """Returns the next bytes."""
        data = super().read(size)
        self.asked += len(data)
        return data


def test_a_bomb_is_left_alone_as_soon_as_it_is_over_the_limit() -> None:
    bomb = gzip.compress(b"\0" * 500_000_000, 9)
    sent = Watched(bomb)
    with pytest.raises(TooLarge):
        decoded(sent, 1024 * 1024)
    assert sent.asked < len(bomb) / 10


def test_what_is_sent_is_bounded_however_little_comes_out() -> None:
    with pytest.raises(TooLarge):
        decoded(BytesIO(gzip.compress(b"") * 60), 1000)


def test_members_are_bounded_in_number() -> None:
    member = gzip.compress(b"")
    assert decoded(BytesIO(member * MAX_MEMBERS), 10**6) == b""
    with pytest.raises(BadRequest):
        decoded(BytesIO(member * (MAX_MEMBERS + 1)), 10**6)


def test_a_form_is_decoded_too_and_bounded(client: FlaskClient) -> None:
    headers = {"Content-Encoding": "gzip"}
    form = "application/x-www-form-urlencoded"
    taken = client.post(
        "/forms", data=gzip.compress(b"number=5"), content_type=form, headers=headers
    )
    assert taken.get_json()["number"] == 5
    large = gzip.compress(b"number=" + b"0" * 4000)
    assert client.post("/forms", data=large, content_type=form, headers=headers).status_code == 413


@pytest.mark.parametrize("coding", ["", "gzip"])
def test_a_form_of_unsaid_length_is_not_cut_off_but_refused(
    client: FlaskClient, coding: str
) -> None:
    data = b"number=5&" * 500
    answer = client.post(
        "/forms",
        input_stream=BytesIO(gzip.compress(data) if coding else data),
        environ_overrides={"wsgi.input_terminated": True},
        content_type="application/x-www-form-urlencoded",
        headers={"Content-Encoding": coding} if coding else {},
    )
    assert answer.status_code == 413


def test_the_document_says_that_bodies_may_be_compressed(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    made = document["paths"]["/things"]["post"]
    assert "gzip" in made["requestBody"]["description"]
    assert made["responses"]["415"] == {"$ref": "#/components/responses/UnsupportedMediaType"}
    refusal = document["components"]["responses"]["UnsupportedMediaType"]
    assert "Accept-Encoding" in refusal["headers"]
