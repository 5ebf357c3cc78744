"""OpenTelemetry: requests -> calls of other services -> statements, off unless configured.

On when OTEL_EXPORTER_OTLP_ENDPOINT names a collector and the extra `tracing` is installed;
OpenTelemetry's own variables (OTEL_TRACES_SAMPLER and so on) hold. What waits in a table takes
its trace along as a W3C traceparent: `current_traceparent` when it is written, `linked_span`
where it is worked off.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from flask import Flask, current_app, has_app_context

from chassis.telemetry import get_logger

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
PROVIDER = "tracing.provider"
HEADER = "traceparent"
# A query may hold the code of a password reset, or what somebody searched for.
WITH_QUERY = ("http.url", "http.target", "url.full", "url.query")


def is_on() -> bool:
    """Whether a collector is named and what it takes to send it something is installed."""
    return bool(os.environ.get(ENDPOINT)) and is_installed()


def is_installed() -> bool:
    try:
        return find_spec("opentelemetry.instrumentation.flask") is not None
    except ModuleNotFoundError:  # of one of the packages it is in
        return False


def install(app: Flask, service: str) -> None:
    """Traces an app's requests, its calls and its statements, if tracing is on."""
    if not is_on():
        if os.environ.get(ENDPOINT):
            get_logger(__name__).warning("not tracing: the extra `tracing` is not installed")
        return
    app.extensions[PROVIDER] = provider = exporting(service)
    from opentelemetry.instrumentation.flask import FlaskInstrumentor
    from opentelemetry.instrumentation.requests import RequestsInstrumentor

    flask: Any = FlaskInstrumentor()
    flask.instrument_app(
        app,
        tracer_provider=provider,
        excluded_urls="/health.*,/metrics",
        # At its request hook a span has not got its address yet.
        response_hook=without_query,
    )
    RequestsInstrumentor().instrument(tracer_provider=provider, request_hook=without_query)
    if "sqlalchemy" in app.extensions:
        trace_statements(app, provider)


def exporting(service: str) -> TracerProvider:
    """Returns a provider that sends its spans to the collector in the background."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create(
        {"service.name": f"footfall-{service}", "service.namespace": "footfall"}
    )
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def trace_statements(app: Flask, provider: TracerProvider) -> None:
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

    with app.app_context():
        engines = list(app.extensions["sqlalchemy"].engines.values())
    SQLAlchemyInstrumentor().instrument(engines=engines, tracer_provider=provider)


def without_query(span: Any, *_: Any) -> None:
    """Cuts the query off every address in a span."""
    for name in WITH_QUERY:
        value = (span.attributes or {}).get(name)
        if isinstance(value, str):
            span.set_attribute(name, "" if name == "url.query" else value.partition("?")[0])


def current_traceparent() -> str | None:
    """Returns the W3C traceparent of the current span, 55 characters; None if there is none."""
    if provider_of_app() is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(HEADER)


def provider_of_app() -> TracerProvider | None:
    """Returns the current app's provider; None where tracing is off."""
    return current_app.extensions.get(PROVIDER) if has_app_context() else None


@contextmanager
def linked_span(name: str, traceparents: Iterable[str | None], **attributes: Any) -> Iterator[None]:
    """Runs its body in a span that follows from others, those of the given traceparents.

    It is a child of a single one and linked to each of several, since a span has one parent
    only. Does nothing where tracing is off; passes over what is no traceparent.
    """
    provider = provider_of_app()
    if provider is None:
        yield
        return
    from opentelemetry.trace import SpanKind, StatusCode

    parent, links = ancestry(traceparents)
    with provider.get_tracer(__name__).start_as_current_span(
        name,
        parent,
        SpanKind.CONSUMER,
        attributes,
        links,
        # An exception's text may hold the values of a statement.
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            span.set_status(StatusCode.ERROR, type(error).__name__)
            raise


@contextmanager
def untraced() -> Iterator[None]:
    """Runs its body, or the function it decorates, without spans of calls and statements.

    For what a loop asks several times a second: each answer would be a trace of its own.
    """
    if provider_of_app() is None:
        yield
        return
    from opentelemetry.instrumentation.utils import suppress_instrumentation

    with suppress_instrumentation():
        yield


def ancestry(traceparents: Iterable[str | None]) -> tuple[Context | None, list[Any]]:
    """Returns the context to be a child in, or the links to have; each span once."""
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    read = TraceContextTextMapPropagator().extract
    found = [read({HEADER: each}, Context()) for each in dict.fromkeys(traceparents) if each]
    spans = [(context, get_current_span(context).get_span_context()) for context in found]
    valid = [(context, span) for context, span in spans if span.is_valid]
    if len(valid) == 1:
        return valid[0][0], []
    return None, [Link(span) for _, span in valid]
