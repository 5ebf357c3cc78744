"""What holds for every JSON route and every list of a service, asked of all that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from chassis.api import Operation
from chassis.openapi import operation_of
from chassis.pagination import Paging, encode_cursor
from chassis.visibility import models_in

Call = Callable[..., TestResponse]
# Neither JSON routes of the API nor pages: what machines and readers of the API ask for.
BESIDE = {"/health", "/health/live", "/metrics", "/openapi.json", "/docs", "/docs.css", "/docs.js"}


def operations(app: Flask) -> Iterator[tuple[str, str, Operation]]:
    """Yields the method, the rule and what is declared of every route that is made with @api."""
    for rule in app.url_map.iter_rules():
        if operation := operation_of(app, rule):
            for method in methods(rule):
                yield method, rule.rule, operation


def methods(rule: Rule) -> set[str]:
    return (rule.methods or set()) - {"HEAD", "OPTIONS"}


def routes_beside(app: Flask) -> set[str]:
    """Returns the rules that are not made with @api."""
    rules = (rule for rule in app.url_map.iter_rules() if rule.endpoint != "static")
    return {rule.rule for rule in rules if operation_of(app, rule) is None}


def answers_with(operation: Operation, *names: str) -> bool:
    """Whether the answer has fields of these names."""
    models = [model for answer in operation.answers.values() for model in models_in(answer)]
    return any(set(names) <= set(model.model_fields) for model in models)


def lists(app: Flask) -> dict[str, Operation]:
    """Returns the operations that answer with a page of a list, by method and rule."""
    return {
        f"{method} {rule}": operation
        for method, rule, operation in operations(app)
        if answers_with(operation, "items", "next_cursor")
    }


def paging_of(operation: Operation) -> type[Paging] | None:
    """Returns the query or body that asks for a page, if it is by the one mechanism."""
    asked = operation.query or operation.body
    return asked if asked and issubclass(asked, Paging) else None


def fields_refused(answer: TestResponse) -> dict[str, str]:
    """Returns the complaints of a 422 by their field; nothing for any other answer."""
    if answer.status_code != 422:
        return {}
    return {each["field"]: each["message"] for each in answer.get_json()["errors"]}


def unheeded_paging(app: Flask, call: Call, given: dict[str, dict[str, Any]]) -> list[str]:
    """Returns what lists answer to limits, cursors and fields that are none, where it is wrong.

    `call` takes a method, a rule and the query string or body that `given` has of a list.
    """
    wrong = []
    for route, operation in lists(app).items():
        query = paging_of(operation)
        if query is None:
            wrong.append(f"{route} pages by itself")
            continue
        method, _, rule = route.partition(" ")
        foreign = encode_cursor("another list", *([1] * len(query.place)))
        for field, value in (
            *(("limit", value) for value in (0, 501)),
            *(("cursor", value) for value in ("x", foreign, encode_cursor(query.listed))),
            *(("fields", value) for value in ("no_such_field", "id,no_such_field", "")),
        ):
            asked = {**given.get(route, {}), field: value}
            sent: dict[str, Any] = {"json": asked} if method == "POST" else {"query_string": asked}
            said = fields_refused(call(method, rule, **sent))
            known = all(name in said.get("fields", "") for name in query.item.model_fields)
            named = str(value) in said.get("fields", "") or "id," in str(value)
            if set(said) != {field} or (field == "fields" and not (known and named)):
                wrong.append(f"{route} with {field}={value!r}: {said}")
    return wrong


def unheeded_names(app: Flask, call: Call) -> list[str]:
    """Returns the routes that don't refuse and name a query name that no route knows."""
    wrong = []
    for method, rule, operation in operations(app):
        if operation.any_query:
            continue
        sent = {} if method == "GET" else {"json": {}}
        for query in ("no_such_name=1", "no_such_name=1&no_such_name=2"):
            said = fields_refused(call(method, rule, **sent, query_string=query))
            if "no_such_name" not in said:
                wrong.append(f"{method} {rule}?{query}: {said}")
    return wrong
