"""`/openapi.json`, and `/docs`, where people read it and try a call.

The page's one script comes from here, calls this service alone, and needs no build step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Flask, Response, render_template, send_from_directory
from markupsafe import Markup, escape

from chassis.api import revalidated
from chassis.auth import public
from chassis.openapi import document
from chassis.vocabulary import Schema, Vocabulary

STATIC = Path(__file__).parent / "static"
# Beside what all answers carry, this page may run its script and call its own service.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
LICENSE = {"name": "MIT", "identifier": "MIT"}
CODE = re.compile(r"`([^`]+)`")


def install(
    app: Flask,
    *,
    title: str,
    version: str,
    description: str,
    vocabulary: Vocabulary | None = None,
) -> None:
    """Serves the document and its reading page, once all routes are registered."""
    app.extensions["vocabulary"] = words = vocabulary or Vocabulary()
    about = {"title": title, "version": version, "description": description, "license": LICENSE}
    pages = Blueprint("docs", __name__, template_folder="templates")

    # Made once for each process, since strangers may ask: routes don't change.
    @cache
    def written() -> tuple[str, str]:
        found = document(app, about, words)
        text = app.json.dumps(found, separators=(",", ":"))
        return text, render_template("docs.html", document=found, groups=grouped(found))

    @pages.get("/openapi.json")
    @public
    def openapi() -> Response:
        return revalidated(Response(written()[0], content_type="application/json"))

    @pages.get("/docs")
    @public
    def docs() -> Response:
        page = Response(written()[1], content_type="text/html; charset=utf-8")
        page.headers["Content-Security-Policy"] = POLICY
        return revalidated(page)

    @pages.get("/docs.css")
    @public
    def stylesheet() -> Response:
        return send_from_directory(STATIC, "docs.css")

    @pages.get("/docs.js")
    @public
    def script() -> Response:
        return send_from_directory(STATIC, "docs.js", mimetype="text/javascript")

    for each in (prose, limits, access, as_sent):
        pages.add_app_template_filter(each)
    app.register_blueprint(pages)


def grouped(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the groups of the document in their order, each with its calls."""
    groups = {tag["name"]: {**tag, "calls": []} for tag in found["tags"]}
    for path, methods in found["paths"].items():
        for method, call in methods.items():
            name = call["tags"][0]
            group = groups.setdefault(name, {"name": name, "x-displayName": name, "calls": []})
            group["calls"].append({**call, "path": path, "method": method})
    return [group for group in groups.values() if group["calls"]]


def prose(text: str) -> Markup:
    """Returns the text with what stands in backticks as code, all else escaped."""
    parts = CODE.split(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def as_sent(about: dict[str, Any], kind: str = "application/json") -> str:
    """Returns the example of a body or parameter as it is sent; JSON so that it reads well."""
    example = about.get("example", "")
    if kind == "application/x-www-form-urlencoded":
        return urlencode(example)
    if isinstance(example, str):
        return example
    return json.dumps(example, indent=2, ensure_ascii=False)


def access(call: dict[str, Any]) -> str:
    """Returns in a few words who may make a call."""
    ways = call["security"]
    if ways == [{}]:
        return "open to everybody"
    scopes = [scope for way in ways for scope in way["bearer"]]
    anybody = ["any signed-in account"] if {"bearer": []} in ways else []
    named = [f"scope {' or '.join(scopes)}"] if scopes else []
    return ", or ".join([*anybody, *named])


def limits(schema: Schema) -> str:
    """Returns what a value must keep to beyond its type, as words."""
    bounds = [schema, *schema.get("anyOf", ())]
    return "; ".join(said for each in bounds for said in bounds_of(each))


def bounds_of(schema: Schema) -> Iterator[str]:
    yield from span(schema.get("minimum"), schema.get("maximum"), "")
    yield from span(schema.get("minLength"), schema.get("maxLength"), " characters")
    yield from span(schema.get("minItems"), schema.get("maxItems"), " entries")
    if "pattern" in schema:
        yield f"of the form {schema['pattern']}"
    if schema.get("default") not in (None, [], {}, ""):
        yield f"{schema['default']} if left out"


def span(least: int | None, most: int | None, unit: str) -> Iterator[str]:
    if least is not None and most is not None:
        yield f"{least} to {most}{unit}"
    elif least is not None:
        yield f"at least {least}{unit}"
    elif most is not None:
        yield f"at most {most}{unit}"
