"""`/openapi.json` and `/docs`, written from what the routes themselves declare."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, render_template, send_from_directory
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from chassis.api import Operation
from chassis.auth import Access, access_of, public
from chassis.errors import (
    BadRequest,
    Forbidden,
    Invalid,
    NotFound,
    Problem,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
    UriTooLong,
)
from chassis.schema import LARGEST_ID, ProblemDocument
from chassis.visibility import models_in

REFERENCE = "#/components/schemas/{model}"
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "the ETag of an answer one has",
    "schema": {"type": "string"},
}
ACCEPT_ENCODING = {
    "Accept-Encoding": {
        "description": "`gzip`, where the body came in another coding",
        "schema": {"type": "string"},
    }
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "a random text: the same request with it once more is answered as the first",
    "schema": {"type": "string", "minLength": 16, "maxLength": 200, "pattern": "^[!-~]+$"},
}
CONFIRMED = (
    "For an account it is asked of the users service whether session and role still stand: "
    "503 while that can't be had."
)
PARAMETER = re.compile(r"<(?:(?P<kind>\w+)(?:\([^)]*\))?:)?(?P<name>\w+)>")


def install(app: Flask, *, title: str, version: str, description: str) -> None:
    """Serves the document and its reading page, once all routes are registered."""
    about = {"title": title, "version": version, "description": description}
    pages = Blueprint("docs", __name__, template_folder="templates")

    # Made once for each process, since strangers may ask: routes don't change.
    @cache
    def written() -> tuple[str, str]:
        found = document(app, about)
        text = app.json.dumps(found, separators=(",", ":"))
        return text, render_template("docs.html", document=found)

    @pages.get("/openapi.json")
    @public
    def openapi() -> Response:
        return Response(written()[0], content_type="application/json")

    @pages.get("/docs")
    @public
    def docs() -> str:
        return written()[1]

    @pages.get("/docs.css")
    @public
    def stylesheet() -> Response:
        return send_from_directory(Path(__file__).parent / "static", "docs.css")

    app.register_blueprint(pages)


def document(app: Flask, about: dict[str, str]) -> dict[str, Any]:
    """Returns the OpenAPI 3.1 document of all routes made with `@api`."""
    routes = [
        (rule, operation)
        for rule in app.url_map.iter_rules()
        if (operation := operation_of(app, rule))
    ]
    schemas, definitions = schemas_of(routes)
    paths: dict[str, Any] = {}
    for rule, operation in sorted(routes, key=lambda each: each[0].rule):
        entry = paths.setdefault(openapi_path(rule), {})
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            entry[method.lower()] = described(app, rule, method, operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": about,
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def operation_of(app: Flask, rule: Rule) -> Operation | None:
    return getattr(app.view_functions[rule.endpoint], "operation", None)


Schemas = dict[tuple[type[BaseModel], str], dict[str, Any]]


def schemas_of(routes: list[tuple[Rule, Operation]]) -> tuple[Schemas, dict[str, Any]]:
    """Returns a reference for each model and mode, and the definitions they point to."""
    wanted: list[tuple[type[BaseModel], Any]] = [(ProblemDocument, "serialization")]
    for _, operation in routes:
        wanted += [(each, "validation") for each in (operation.body, operation.form) if each]
        answered = (*operation.answers.values(), operation.error_model)
        wanted += [(each, "serialization") for answer in answered for each in models_in(answer)]
    unique = list(dict.fromkeys(wanted))
    references, definitions = models_json_schema(unique, ref_template=REFERENCE)
    return references, definitions.get("$defs", {})  # type: ignore[return-value]


def openapi_path(rule: Rule) -> str:
    return PARAMETER.sub(lambda match: "{" + match["name"] + "}", rule.rule)


def described(
    app: Flask, rule: Rule, method: str, operation: Operation, schemas: Schemas
) -> dict[str, Any]:
    view = app.view_functions[rule.endpoint]
    summary, _, rest = (view.__doc__ or rule.endpoint).strip().partition("\n")
    access = access_of(app, rule.endpoint)
    entry: dict[str, Any] = {
        "operationId": f"{rule.endpoint.replace('.', '_')}_{method.lower()}",
        "summary": summary.rstrip("."),
        "description": " ".join([*rest.split(), *([CONFIRMED] if access.confirmed else [])]),
        "tags": [rule.endpoint.partition(".")[0]],
        "parameters": [
            *path_parameters(rule),
            *query_parameters(operation),
            *([IF_NONE_MATCH] if operation.etag else []),
            *([IDEMPOTENCY_KEY] if operation.idempotent else []),
        ],
        "responses": responses(operation, access, schemas),
        "security": [{}] if access.everybody else [{"bearer": sorted(access.scopes)}],
    }
    if content := request_content(operation, schemas):
        entry["requestBody"] = {
            "description": "May be compressed, with `Content-Encoding: gzip`.",
            "required": not operation.optional,
            "content": content,
        }
    return entry


def path_parameters(rule: Rule) -> list[dict[str, Any]]:
    kinds: dict[str | None, dict[str, Any]] = {
        "id": {"type": "integer", "minimum": 1, "maximum": LARGEST_ID},
        "uuid": {"type": "string", "format": "uuid"},
    }
    return [
        {
            "name": match["name"],
            "in": "path",
            "required": True,
            "schema": kinds.get(match["kind"], {"type": "string"}),
        }
        for match in PARAMETER.finditer(rule.rule)
    ]


def query_parameters(operation: Operation) -> list[dict[str, Any]]:
    """Returns one parameter for a field; prefixed fields are deep objects by name."""
    if operation.query is None:
        return []
    schema = operation.query.model_json_schema(ref_template=REFERENCE)
    required = schema.get("required", [])
    gathered = set(operation.query.prefixed.values())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": field.get("description", ""),
            "schema": field,
        }
        for name, field in schema.get("properties", {}).items()
        if name not in gathered
    ]


def request_content(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    if operation.form:
        return {"application/x-www-form-urlencoded": content(operation.form, schemas)}
    if operation.body:
        known = content(operation.body, schemas)
        return {
            kind: known if kind[-4:] == "json" else {"schema": {"type": "string"}}
            for kind in operation.media_types
        }
    return {}


def content(model: type[BaseModel], schemas: Schemas, mode: str = "validation") -> dict[str, Any]:
    return {"schema": schemas[model, mode]}


def responses(operation: Operation, access: Access, schemas: Schemas) -> dict[str, Any]:
    entries = {
        str(status): answer_entry(operation, answer, schemas)
        for status, answer in operation.answers.items()
    }
    if operation.answer_headers:
        entries[str(next(iter(operation.answers)))]["headers"] = {
            name: {"description": said, "schema": {"type": "string"}}
            for name, said in operation.answer_headers.items()
        }
    problem = {"application/problem+json": content(ProblemDocument, schemas, "serialization")}
    shape = error_content(operation, schemas) or problem
    for error in possible_errors(operation, access):
        entries.setdefault(str(error.status), {"description": error.title, "content": shape})
    if "415" in entries:
        entries["415"]["headers"] = ACCEPT_ENCODING
    # The server refuses such a request before the route's own handlers see it.
    entries["414"] = {"description": UriTooLong.title, "content": problem}
    if operation.etag:
        entries["304"] = {"description": "The caller has this answer already"}
    return entries


def error_content(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    """Returns the route's own error shape, if it has one."""
    if operation.error_model is None:
        return {}
    return {"application/json": content(operation.error_model, schemas, "serialization")}


def answer_entry(operation: Operation, answer: Any, schemas: Schemas) -> dict[str, Any]:
    entry: dict[str, Any] = {"description": "As asked"}
    if answer is not None:
        schema = answer_schema(answer, schemas)
        entry["content"] = {kind: {"schema": schema} for kind in operation.answer_types}
    return entry


def answer_schema(answer: Any, schemas: Schemas) -> dict[str, Any]:
    found = [schemas[model, "serialization"] for model in models_in(answer)]
    if len(found) > 1:
        return {"anyOf": found}
    return found[0] if found else {}


def possible_errors(operation: Operation, access: Access) -> list[type[Problem]]:
    """Returns what a route declares and what every route of its kind may answer."""
    found: list[type[Problem]] = [
        *operation.errors,
        BadRequest,
        TooManyRequests,
        Unavailable,
    ]
    if not access.everybody:
        found += [Unauthenticated, Forbidden]
    # At least for a name that the query string doesn't know.
    if not (operation.any_query or operation.error_model):
        found.append(Invalid)
    if operation.body or operation.form:
        found += [TooLarge, UnsupportedMediaType]
    return [*found, NotFound]
