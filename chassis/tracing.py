"""OpenTelemetry: requests -> calls of other services -> statements, off unless configured.

On when OTEL_EXPORTER_OTLP_ENDPOINT names a collector and the extra `tracing` is installed;
OpenTelemetry's own variables (OTEL_TRACES_SAMPLER and so on) hold.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from flask import Flask

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
# A query may hold the code of a password reset, or what somebody searched for.
WITH_QUERY = ("http.url", "http.target", "url.full", "url.query")


def is_on() -> bool:
    """Whether a collector is named."""
    return bool(os.environ.get(ENDPOINT))


def install(app: Flask, service: str) -> None:
    """Traces an app's requests, its calls and its statements, if a collector is named."""
    if not is_on():
        return
    provider = exporting(service)
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
