"""The outbox takes the trace of what wrote it along, and the relay goes on from there."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import select

from chassis import tracing
from chassis.database import transaction
from tests.unit.users.conftest import MakeApp, Person, register
from tests.unit.users.receiver import StandIn
from users_app import outbox
from users_app.models import OutboxMessage, db
from users_app.relay import queue
from users_app.relay.receiver import Receiver

pytest.importorskip("opentelemetry.instrumentation.flask", reason="the extra `tracing`")

from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

# Sampled, and perhaps of a random id.
TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]")


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Turns tracing on for the apps to be made; yields what keeps their spans."""
    kept = InMemorySpanExporter()

    def exporting(_service: str) -> TracerProvider:
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(kept))
        return provider

    monkeypatch.setattr(tracing, "exporting", exporting)
    monkeypatch.setenv(tracing.ENDPOINT, "http://127.0.0.1:9")
    yield kept
    for each in (RequestsInstrumentor(), SQLAlchemyInstrumentor()):
        each.uninstrument()  # they reach beyond the one app


@pytest.fixture
def traced_app(spans: InMemorySpanExporter, make_app: MakeApp) -> Flask:
    return make_app()


def traceparents(app: Flask) -> list[str | None]:
    with app.app_context():
        return list(
            db.session.scalars(select(OutboxMessage.traceparent).order_by(OutboxMessage.id))
        )


def span_named(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    (found,) = [span for span in spans.get_finished_spans() if span.name == name]
    return found


def test_a_row_names_the_request_that_wrote_it(
    traced_app: Flask, spans: InMemorySpanExporter
) -> None:
    register(traced_app.test_client(), "ada")
    (traceparent,) = traceparents(traced_app)
    request = span_named(spans, "POST /users").context
    flags = request.trace_flags
    assert traceparent == f"00-{request.trace_id:032x}-{request.span_id:016x}-{flags:02x}"
    assert TRACEPARENT.fullmatch(traceparent)


def test_a_request_that_came_with_a_trace_goes_on_with_it(traced_app: Flask) -> None:
    client = traced_app.test_client()
    client.environ_base["HTTP_TRACEPARENT"] = f"00-{'a' * 32}-{'1' * 16}-01"
    register(client, "ada")
    (traceparent,) = traceparents(traced_app)
    assert traceparent
    assert TRACEPARENT.fullmatch(traceparent)
    assert traceparent.split("-")[1] == "a" * 32


def test_what_no_request_wrote_names_none(traced_app: Flask) -> None:
    with traced_app.app_context(), transaction(db.session):
        outbox.put_event("user_updated", 1)
    assert traceparents(traced_app) == [None]


def test_without_tracing_no_row_names_a_trace(app: Flask) -> None:
    client = app.test_client()
    client.environ_base["HTTP_TRACEPARENT"] = f"00-{'a' * 32}-{'1' * 16}-01"
    Person(client, "ada")
    assert traceparents(app) == [None, None]


def test_an_erasure_and_the_event_that_follows_it_are_of_one_trace(
    traced_app: Flask, spans: InMemorySpanExporter
) -> None:
    stand_in = StandIn()
    Person(traced_app.test_client(), "root")
    ada = Person(traced_app.test_client(), "ada")
    with traced_app.app_context():
        receiver = Receiver(stand_in.url)
        queue.deliver_some(receiver)
        spans.clear()
        ada.call("DELETE", "/users/me", json={"current_password": "correct horse battery"})
        queue.erase_some(receiver)
        queue.deliver_some(receiver)
    stand_in.close()
    deletion = span_named(spans, "DELETE /users/me").context
    deliveries = [span for span in spans.get_finished_spans() if span.name == "deliver outbox"]
    assert stand_in.order[-2:] == ["erase", "user_deleted"]
    assert [span.context.trace_id for span in deliveries] == [deletion.trace_id] * 2
