"""Both documents describe every name, and give every call examples that hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from werkzeug.datastructures import MultiDict

from chassis.api import parsed_names
from tests.every_route import operations
from tests.proof.documents import NAMES, document, service

OPERATIONS = {
    "users": """
        change_account change_me change_password confirm_password_reset create_invite
        delete_account delete_me end_my_session export_me get_account get_jwks get_me issue_tokens
        list_accounts list_audit_entries list_invites list_my_sessions list_revoked_sessions login
        logout register request_password_reset withdraw_invite
    """,
    "analytics": """
        add_annotation count_by_type create_api_key delete_annotation delete_api_key
        delete_saved_report erase_event_type erase_user_events erase_visitor_events export_events
        get_breakdown get_erasure get_funnel get_live get_paths get_properties get_retention
        get_saved_report get_summary get_timeseries list_annotations list_api_keys
        list_audit_entries list_dropped_users list_events list_events_of_days list_events_of_user
        list_saved_reports save_report store_batch store_event
    """,
}


@dataclass(frozen=True)
class Described:
    """A service and its document."""

    name: str
    app: Flask
    document: dict[str, Any]

    def calls(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields each call with its method and path."""
        for path, methods in self.document["paths"].items():
            for method, call in methods.items():
                yield f"{method.upper()} {path}", call

    def answers(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields each answer of each call, with what it refers to."""
        shared = self.document["components"]["responses"]
        for where, call in self.calls():
            for status, answer in call["responses"].items():
                name = answer.get("$ref", "").rpartition("/")[2]
                yield f"{where} {status}", shared[name] if name else answer

    def contents(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields each body that is taken or answered."""
        for where, call in self.calls():
            for kind, content in call.get("requestBody", {}).get("content", {}).items():
                yield f"{where} takes {kind}", content
        for where, answer in self.answers():
            for kind, content in answer.get("content", {}).items():
                yield f"{where} {kind}", content

    def complaints(self, schema: dict[str, Any], example: Any) -> list[str]:
        """Returns what is wrong with an example."""
        whole = {**schema, "components": self.document["components"]}
        validator = OAS31Validator(whole, format_checker=OAS31Validator.FORMAT_CHECKER)
        return [error.message for error in validator.iter_errors(example)]


@pytest.fixture(scope="module", params=NAMES)
def described(request: pytest.FixtureRequest) -> Described:
    app = service(request.param)
    return Described(request.param, app, document(app))


def test_the_document_is_valid_and_its_operation_ids_are_a_promise(described: Described) -> None:
    OpenAPIV31SpecValidator(described.document).validate()
    names = [call["operationId"] for _, call in described.calls()]
    assert sorted(names) == OPERATIONS[described.name].split()


def test_every_field_and_parameter_is_described(described: Described) -> None:
    silent = [
        f"{model}.{field}"
        for model, schema in described.document["components"]["schemas"].items()
        for field, about in schema.get("properties", {}).items()
        if len(about.get("description", "")) < 5
    ]
    silent += [
        f"{where}: {parameter['name']}"
        for where, call in described.calls()
        for parameter in call["parameters"]
        if len(parameter["description"]) < 5
    ]
    silent += [where for where, answer in described.answers() if not answer["description"]]
    silent += [where for where, call in described.calls() if not call["summary"]]
    assert not silent


def test_every_term_is_of_a_name_that_there_is(described: Described) -> None:
    known = set()
    for model, schema in described.document["components"]["schemas"].items():
        known |= {model, *schema.get("properties", {})}
        known |= {f"{model}.{field}" for field in schema.get("properties", {})}
    for _, call in described.calls():
        for parameter in call["parameters"]:
            known |= {parameter["name"], "{" + parameter["name"] + "}"}
    for _, _, operation in operations(described.app):
        if operation.query:
            known |= {f"{operation.query.__name__}.{each}" for each in operation.query.model_fields}
        known |= {*operation.media_types, *operation.answer_types}
    vocabulary = described.app.extensions["vocabulary"]
    assert {*vocabulary.terms, *vocabulary.examples} <= known
    assert {*vocabulary.groups} == {call["tags"][0] for _, call in described.calls()}


def test_every_call_has_examples_that_are_valid(described: Described) -> None:
    wrong = []
    for where, content in described.contents():
        if "example" not in content:
            wrong.append(f"{where}: no example")
            continue
        complaints = described.complaints(content["schema"], content["example"])
        wrong += [f"{where}: {each}" for each in complaints]
    for where, call in described.calls():
        for parameter in call["parameters"]:
            complaints = described.complaints(parameter["schema"], parameter["example"])
            wrong += [f"{where} {parameter['name']}: {each}" for each in complaints]
    assert not wrong


def test_an_example_that_breaks_its_schema_is_seen(described: Described) -> None:
    problem = described.document["components"]["responses"]["Invalid"]["content"]
    schema = problem["application/problem+json"]["schema"]
    example = problem["application/problem+json"]["example"]
    assert described.complaints(schema, example) == []
    assert described.complaints(schema, {**example, "status": "422"})
    assert described.complaints(schema, {**example, "more": 1})


def test_the_service_takes_the_examples_that_it_gives(described: Described) -> None:
    calls = dict(described.calls())
    for method, rule, operation in operations(described.app):
        call = calls[f"{method} {openapi(rule)}"]
        content = call.get("requestBody", {}).get("content", {})
        if operation.body:
            operation.body.model_validate(content["application/json"]["example"])
        if operation.form:
            form = content["application/x-www-form-urlencoded"]["example"]
            parsed_names(operation.form, MultiDict(form))
        if operation.query:
            parsed_names(operation.query, query_of(call))


def query_of(call: dict[str, Any]) -> MultiDict[str, str]:
    """Returns the examples of a call's parameters as a query string gives them."""
    pairs: list[tuple[str, str]] = []
    for each in call["parameters"]:
        if each["in"] == "query":
            example = each["example"]
            values = example if isinstance(example, list) else [example]
            pairs += [(each["name"], str(value)) for value in values]
    return MultiDict(pairs)


def openapi(rule: str) -> str:
    for kind in ("<id:", "<path:", "<"):
        rule = rule.replace(kind, "{")
    return rule.replace(">", "}")


def test_any_one_of_a_calls_scopes_is_enough() -> None:
    paths = document(service("analytics"))["paths"]
    summary = paths["/analytics/summary"]["get"]["security"]
    assert summary == [{"bearer": ["events:read"]}, {"bearer": ["reports:read"]}]
    assert paths["/analytics/events"]["post"]["security"] == [
        {"bearer": []},
        {"bearer": ["events:write"]},
    ]


def test_lines_of_json_are_no_object() -> None:
    batch = document(service("analytics"))["paths"]["/analytics/events/batch"]["post"]
    lines = batch["requestBody"]["content"]["application/x-ndjson"]
    assert lines["schema"] == {"type": "string", "format": "binary"}
    assert [json.loads(each)["event_type"] for each in lines["example"].splitlines()]


def test_every_call_says_who_may_make_it_and_how_it_is_refused(described: Described) -> None:
    for where, call in described.calls():
        closed = call["security"] != [{}]
        assert call["security"], where
        refusals = {"400", "404", "414", "429", "503"} | ({"401", "403"} if closed else set())
        refusals |= {"413", "415"} if "requestBody" in call else set()
        assert refusals <= call["responses"].keys(), where
    for where, answer in described.answers():
        if where[-3] in "45":
            assert answer["content"], where
