"""The pages about an API: what they escape, what they allow, and that they are fetched once."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import ClassVar

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import Field

from chassis import SERVICE_HEADERS, api_docs, assemble
from chassis.api import api
from chassis.api_docs import limits
from chassis.auth import public
from chassis.config import Settings
from chassis.schema import Model, Query
from chassis.vocabulary import Vocabulary, example_of
from tests.stack import ROOT

HOSTILE = """</pre></script><img src=x onerror=alert(1)>'"`{{7*7}}` """
PAGES = ("/openapi.json", "/docs", "/docs.css", "/docs.js")


class PageSettings(Settings):
    service: ClassVar[str] = "page"


class Thing(Model):
    text: str = Field(description=HOSTILE, examples=[HOSTILE])
    number: int = Field(ge=2, le=5)


class ThingsQuery(Query):
    open: bool | None = Field(None, description="whether it is", examples=[True])


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    app = Flask(__name__)
    assemble(app, PageSettings(log_level="ERROR"), authenticate=lambda: None, checks={})

    @app.post("/things/<id:number>")
    @public
    @api(query=ThingsQuery, body=Thing, answers={200: Thing})
    def make_thing(number: int, query: ThingsQuery, body: Thing) -> Thing:
        return body

    make_thing.__doc__ = HOSTILE
    words = Vocabulary({"{number}": (HOSTILE, 3), "number": ("a number", 3)}, {"Thing": HOSTILE})
    api_docs.install(app, title=HOSTILE, version="1", description=HOSTILE, vocabulary=words)
    return app.test_client()


class Tags(HTMLParser):
    """Gathers the elements of a page, and what could run in it."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str | None] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script":
            self.scripts.append(given.get("src"))
        self.wrong += [
            f"{tag} {name}" for name in given if name.startswith("on") or name == "style"
        ]
        self.wrong += [tag] if tag in ("img", "style", "base", "iframe") else []


def test_hostile_words_are_words(client: FlaskClient) -> None:
    page = client.get("/docs").get_data(as_text=True)
    tags = Tags()
    tags.feed(page)
    assert (tags.scripts, tags.wrong) == (["docs.js"], [])
    assert "onerror=alert(1)&gt;" in page
    assert "49" not in re.sub(r"&#\d+;", "", page)


def test_an_example_in_a_field_is_what_would_be_sent(client: FlaskClient) -> None:
    page = client.get("/docs").get_data(as_text=True)
    assert re.search(r'data-name="open"\s+placeholder="true"', page)


def test_the_page_may_run_its_script_and_every_other_answer_nothing(client: FlaskClient) -> None:
    policy = client.get("/docs").headers["Content-Security-Policy"]
    for allowed in ("script-src 'self'", "connect-src 'self'", "style-src 'self'"):
        assert allowed in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    for path in ("/openapi.json", "/docs.js", "/things/3", "/health/live"):
        answer = client.get(path)
        assert (
            answer.headers["Content-Security-Policy"] == SERVICE_HEADERS["Content-Security-Policy"]
        )


@pytest.mark.parametrize("path", PAGES)
def test_what_a_reader_has_is_not_sent_again(client: FlaskClient, path: str) -> None:
    first = client.get(path)
    assert first.status_code == 200
    assert "no-store" not in first.headers["Cache-Control"]
    again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    other = client.get(path, headers={"If-None-Match": '"another"'})
    assert (other.status_code, other.data) == (200, first.data)
    head = client.head(path)
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["ETag"] == first.headers["ETag"]
    asked = client.options(path)
    assert (asked.status_code, set(asked.headers["Allow"].split(", "))) == (
        200,
        {"GET", "HEAD", "OPTIONS"},
    )
    assert client.post(path).status_code == 405


def test_an_example_is_made_of_those_of_its_parts() -> None:
    definitions = {
        "Inner": {"properties": {"a": {"type": "integer", "minimum": 4}, "b": {"const": "x"}}},
    }
    schema = {
        "properties": {
            "inner": {"anyOf": [{"$ref": "#/components/schemas/Inner"}, {"type": "null"}]},
            "many": {"type": "array", "items": {"enum": ["one", "two"]}},
            "usual": {"type": "integer", "default": 7},
            "free": {"type": "object"},
            "none": {"type": "null"},
        }
    }
    assert example_of(schema, definitions) == {
        "inner": {"a": 4, "b": "x"},
        "many": ["one"],
        "usual": 7,
        "free": {},
        "none": None,
    }


def test_rules_are_said_in_words() -> None:
    text = {"type": "string", "minLength": 1, "maxLength": 9, "pattern": "^a$"}
    assert limits(text) == "1 to 9 characters; of the form ^a$"
    assert limits({"anyOf": [{"minimum": 1}, {"type": "null"}]}) == "at least 1"
    assert limits({"maxItems": 3, "default": 2}) == "at most 3 entries; 2 if left out"


def test_the_colors_are_the_dashboards() -> None:
    token = re.compile(r"(--[\w-]+): (light-dark\([^)]*\));")
    ours = dict(token.findall((ROOT / "chassis/static/docs.css").read_text()))
    theirs = dict(token.findall((ROOT / "static/app.css").read_text()))
    assert len(ours) > 10
    assert ours.items() <= theirs.items()
