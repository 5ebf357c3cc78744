"""The OpenAPI document of a service, written from what its routes themselves declare."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from chassis.api import Operation
from chassis.auth import Access, access_of
from chassis.errors import (
    BadRequest,
    Conflict,
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
from chassis.pagination import Paging
from chassis.schema import LARGEST_ID, ProblemDocument
from chassis.visibility import models_in
from chassis.vocabulary import PREFIX, Schema, Vocabulary, example_of

REFERENCE = PREFIX + "{model}"
PROBLEM = "application/problem+json"
JSON = "application/json"


def optional_header(name: str, said: str, example: str, **limits: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": said,
        "schema": {"type": "string", **limits},
        "example": example,
    }


IF_NONE_MATCH = optional_header("If-None-Match", "the ETag of an answer one has", 'W/"3f1c8a"')
IDEMPOTENCY_KEY = optional_header(
    "Idempotency-Key",
    "a random text: the same request with it once more is answered as the first",
    "9f1c8a52-6a0e-4c7e-9d57-1f0f6d1c2b3a",
    minLength=16,
    maxLength=200,
    pattern="^[!-~]+$",
)
REQUEST_ID = optional_header(
    "X-Request-ID",
    "1 to 64 of `A-Za-z0-9._-`; names the request in its answer and the logs",
    "0b6f8c2d1f7a4e06",
)
BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "`Authorization: Bearer …`: an access token, or where a service has them, an "
    "API key. A route lists the scopes of which any one is enough; without one, any access token.",
}
CONFIRMED = (
    "For an account it is asked of the users service whether session and role still stand: "
    "503 while that can't be had."
)
PARAMETER = re.compile(r"<(?:(?P<kind>\w+)(?:\([^)]*\))?:)?(?P<name>\w+)>")

# What a route may answer beside its own answers: what it means, and an example of its sentence.
PROBLEMS: dict[type[Problem], tuple[str, str]] = {
    BadRequest: ("The request can't be read.", "The body is not valid JSON: it ends too early."),
    Unauthenticated: ("No credential, or one that doesn't hold.", "Sign in first."),
    Forbidden: ("The caller may not do this.", "You may not do this."),
    NotFound: (
        "There is no such thing, or none that the caller may see.",
        "There is nothing here.",
    ),
    Conflict: ("It collides with what is stored.", "This is taken."),
    TooLarge: ("The body is over the limit.", "The body is over the limit."),
    UriTooLong: ("The address is over the limit.", "The address is too long."),
    UnsupportedMediaType: (
        "The body is of a kind that this route doesn't read.",
        "Send the body as JSON, with Content-Type: application/json.",
    ),
    Invalid: ("Fields that break a rule: all of them at once.", "email: is required"),
    TooManyRequests: ("A limit is reached: wait as `Retry-After` says.", "Too many requests."),
    Unavailable: (
        "Something that this needs is down or busy: try again as `Retry-After` says.",
        "The database does not answer.",
    ),
}
RETRY_AFTER = {"description": "seconds to wait", "schema": {"type": "integer"}}
HEADERS: dict[type[Problem], dict[str, Any]] = {
    Unauthenticated: {
        "WWW-Authenticate": {"description": "`Bearer`", "schema": {"type": "string"}}
    },
    UnsupportedMediaType: {
        "Accept-Encoding": {
            "description": "`gzip`, where the body came in another coding",
            "schema": {"type": "string"},
        }
    },
    TooManyRequests: {"Retry-After": RETRY_AFTER},
    Unavailable: {"Retry-After": RETRY_AFTER},
}


def document(app: Flask, about: dict[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    """Returns the OpenAPI 3.1 document of all routes made with `@api`."""
    routes = [
        (rule, operation)
        for rule in app.url_map.iter_rules()
        if (operation := operation_of(app, rule))
    ]
    writer = Writer(app, routes, vocabulary)
    paths: dict[str, Any] = {}
    for rule, operation in sorted(routes, key=lambda each: each[0].rule):
        entry = paths.setdefault(openapi_path(rule), {})
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            entry[method.lower()] = writer.operation(rule, operation)
    return {
        "openapi": "3.1.0",
        "info": about,
        "servers": [{"url": "/", "description": "this service"}],
        "tags": [
            {"name": name, "x-displayName": title, "description": said}
            for name, (title, said) in vocabulary.groups.items()
        ],
        "paths": paths,
        "components": {
            "schemas": writer.definitions,
            "responses": writer.problems(),
            "securitySchemes": {"bearer": BEARER},
        },
    }


def operation_of(app: Flask, rule: Rule) -> Operation | None:
    return getattr(app.view_functions[rule.endpoint], "operation", None)


Schemas = dict[tuple[type[BaseModel], str], Schema]


def schemas_of(routes: list[tuple[Rule, Operation]]) -> tuple[Schemas, dict[str, Schema]]:
    """Returns a reference for each model and mode, and the definitions they point to.

    A model that is another by a second name is referred to as that other: those who generate
    code from the document take the two for a clash.
    """
    wanted: list[tuple[type[BaseModel], Any]] = [(ProblemDocument, "serialization")]
    for _, operation in routes:
        wanted += [(each, "validation") for each in (operation.body, operation.form) if each]
        answered = (*operation.answers.values(), operation.error_model)
        wanted += [(each, "serialization") for answer in answered for each in models_in(answer)]
    unique = list(dict.fromkeys(wanted))
    references, found = models_json_schema(unique, ref_template=REFERENCE)
    definitions: dict[str, Schema] = found.get("$defs", {})
    aliases = {name for name, schema in definitions.items() if "$ref" in schema}
    schemas: Schemas = {}
    for model, mode in unique:
        reference = references[model, mode]
        name = reference["$ref"].removeprefix(PREFIX)
        schemas[model, mode] = definitions[name] if name in aliases else reference
    return schemas, {name: each for name, each in definitions.items() if name not in aliases}


def openapi_path(rule: Rule) -> str:
    return PARAMETER.sub(lambda match: "{" + match["name"] + "}", rule.rule)


class Writer:
    """Writes the operations of one document over its schemas."""

    def __init__(
        self, app: Flask, routes: list[tuple[Rule, Operation]], vocabulary: Vocabulary
    ) -> None:
        self.app = app
        self.vocabulary = vocabulary
        self.schemas, self.definitions = schemas_of(routes)
        vocabulary.explain_all(self.definitions)

    def operation(self, rule: Rule, operation: Operation) -> dict[str, Any]:
        """Returns the entry of one method of a path."""
        view = self.app.view_functions[rule.endpoint]
        group, _, name = rule.endpoint.rpartition(".")
        summary, _, rest = (view.__doc__ or name).strip().partition("\n")
        access = access_of(self.app, rule.endpoint)
        entry: dict[str, Any] = {
            "operationId": name,
            "summary": summary.rstrip("."),
            "description": " ".join([*rest.split(), *([CONFIRMED] if access.confirmed else [])]),
            "tags": [group or name],
            "parameters": [
                *self.path_parameters(rule),
                *self.query_parameters(operation),
                REQUEST_ID,
                *([IF_NONE_MATCH] if operation.etag else []),
                *([IDEMPOTENCY_KEY] if operation.idempotent else []),
            ],
            "responses": self.responses(operation, access),
            "security": security(access),
        }
        if content := self.request_content(operation):
            entry["requestBody"] = {
                "description": "May be compressed, with `Content-Encoding: gzip`.",
                "required": not operation.optional,
                "content": content,
            }
        return entry

    def path_parameters(self, rule: Rule) -> list[dict[str, Any]]:
        kinds: dict[str | None, Schema] = {
            "id": {"type": "integer", "minimum": 1, "maximum": LARGEST_ID},
            "uuid": {"type": "string", "format": "uuid"},
        }
        found = []
        for match in PARAMETER.finditer(rule.rule):
            schema = dict(kinds.get(match["kind"], {"type": "string"}))
            self.vocabulary.explain("", "{" + match["name"] + "}", schema)
            found.append(parameter(match["name"], "path", True, schema))
        return found

    def query_parameters(self, operation: Operation) -> list[dict[str, Any]]:
        """Returns one for each field; what `prefixed` gathers has no one name to list."""
        query = operation.query
        if query is None:
            return []
        whole = query.model_json_schema(ref_template=REFERENCE)
        known = query.examples() if issubclass(query, Paging) else {}
        found = []
        for name, schema in whole.get("properties", {}).items():
            if name in query.prefixed.values():
                continue
            self.vocabulary.explain(query.__name__, name, schema)
            if name in known:
                schema["examples"] = [known[name]]
            found.append(parameter(name, "query", name in whole.get("required", []), schema))
        return found

    def request_content(self, operation: Operation) -> dict[str, Any]:
        if operation.form:
            return {"application/x-www-form-urlencoded": self.content(operation.form)}
        if operation.body is None:
            return {}
        known = self.content(operation.body)
        return {
            kind: known if kind == JSON else self.text_content(kind)
            for kind in operation.media_types
        }

    def content(self, model: type[BaseModel], mode: str = "validation") -> dict[str, Any]:
        schema = self.schemas[model, mode]
        return {"schema": schema, "example": example_of(schema, self.definitions)}

    def text_content(self, kind: str) -> dict[str, Any]:
        """Returns that of a body that is no JSON: one by lines, or CSV."""
        example = self.vocabulary.examples.get(kind)
        said = {} if example is None else {"example": example}
        octets = {} if kind.startswith("text/") else {"format": "binary"}
        return {"schema": {"type": "string", **octets}, **said}

    def responses(self, operation: Operation, access: Access) -> dict[str, Any]:
        entries = {
            str(status): self.answer(operation, answer)
            for status, answer in operation.answers.items()
        }
        if operation.answer_headers:
            entries[str(next(iter(operation.answers)))]["headers"] = {
                name: {"description": said, "schema": {"type": "string"}}
                for name, said in operation.answer_headers.items()
            }
        for error in possible_errors(operation, access):
            entries.setdefault(str(error.status), self.refusal(operation, error))
        # The server refuses such a request before the route's own handlers see it.
        entries["414"] = reference_to(UriTooLong)
        if operation.etag:
            entries["304"] = {"description": "The caller has this answer already."}
        return dict(sorted(entries.items()))

    def answer(self, operation: Operation, answer: Any) -> dict[str, Any]:
        if answer is None:
            return {"description": "Done; the answer has no body."}
        models = models_in(answer)
        said = " Or: ".join(first_line(model) for model in models) or "The data."
        if not models:
            return {
                "description": said,
                "content": {kind: self.text_content(kind) for kind in operation.answer_types},
            }
        contents = [self.content(model, "serialization") for model in models]
        known = contents[0]
        if len(contents) > 1:
            known = {**known, "schema": {"anyOf": [each["schema"] for each in contents]}}
        return {"description": said, "content": dict.fromkeys(operation.answer_types, known)}

    def refusal(self, operation: Operation, error: type[Problem]) -> dict[str, Any]:
        """Returns a reference to the error that all routes share, or the route's own shape."""
        if operation.error_model is None:
            return reference_to(error)
        return refused(error, JSON, self.content(operation.error_model, "serialization"))

    def problems(self) -> dict[str, Any]:
        """Returns the errors that routes refer to, by name."""
        return {error.__name__: self.problem(error) for error in PROBLEMS}

    def problem(self, error: type[Problem]) -> dict[str, Any]:
        content = self.content(ProblemDocument, "serialization")
        example = content["example"]
        example |= {"title": error.title, "status": error.status, "detail": PROBLEMS[error][1]}
        if error is not Invalid:
            del example["errors"]
        return refused(error, PROBLEM, content)


def refused(error: type[Problem], kind: str, content: dict[str, Any]) -> dict[str, Any]:
    headers = {"headers": HEADERS[error]} if error in HEADERS else {}
    return {"description": PROBLEMS[error][0], "content": {kind: content}, **headers}


def parameter(name: str, place: str, required: bool, schema: Schema) -> dict[str, Any]:
    """Returns a parameter; what its schema says of it stands beside the schema.

    Nothing in an address can be null: what may be is left out.
    """
    schema = dict(schema)
    if any(each.get("type") == "null" for each in schema.get("anyOf", ())):
        (known,) = (each for each in schema.pop("anyOf") if each.get("type") != "null")
        schema = {**known, **{name: each for name, each in schema.items() if each is not None}}
    said = schema.pop("description", "")
    example = example_of(schema, {})
    schema.pop("examples", None)
    return {
        "name": name,
        "in": place,
        "required": required,
        "description": said,
        "schema": schema,
        "example": example,
    }


def security(access: Access) -> list[dict[str, list[str]]]:
    """Returns the ways in, of which any one is enough."""
    if access.everybody:
        return [{}]
    by_scope: list[dict[str, list[str]]] = [{"bearer": [each]} for each in sorted(access.scopes)]
    return [{"bearer": []}, *by_scope] if access.any_user else by_scope


def reference_to(error: type[Problem]) -> dict[str, Any]:
    return {"$ref": f"#/components/responses/{error.__name__}"}


def first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or model.__name__).strip().partition("\n")[0]


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
