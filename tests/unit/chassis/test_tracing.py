"""What a span that comes later says of those it follows from; and nothing while tracing is off."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from structlog.testing import CapturingLogger

from chassis import tracing

pytest.importorskip("opentelemetry.sdk.trace", reason="the extra `tracing`")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

FIRST = f"00-{'a' * 32}-{'1' * 16}-01"
SECOND = f"00-{'b' * 32}-{'2' * 16}-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Yields what keeps the spans of an app whose context is pushed."""
    app, kept = Flask(__name__), InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    app.extensions[tracing.PROVIDER] = provider
    with app.app_context():
        yield kept


def made(spans: InMemorySpanExporter, *traceparents: str | None) -> Any:
    with tracing.linked_span("late", traceparents, **{"of.several": len(traceparents)}):
        pass
    (span,) = spans.get_finished_spans()
    return span


def test_what_follows_from_one_is_its_child(spans: InMemorySpanExporter) -> None:
    span = made(spans, FIRST, None, FIRST)
    assert (f"{span.context.trace_id:x}", f"{span.parent.span_id:x}") == ("a" * 32, "1" * 16)
    assert span.links == ()
    assert span.attributes == {"of.several": 3}


def test_what_follows_from_several_is_linked_to_each_of_them(spans: InMemorySpanExporter) -> None:
    span = made(spans, FIRST, SECOND, FIRST)
    assert span.parent is None
    assert [f"{link.context.trace_id:x}" for link in span.links] == ["a" * 32, "b" * 32]


@pytest.mark.parametrize("odd", [None, "", "no traceparent", f"00-{'0' * 32}-{'0' * 16}-01"])
def test_what_is_no_traceparent_is_passed_over(
    spans: InMemorySpanExporter, odd: str | None
) -> None:
    span = made(spans, odd)
    assert (span.parent, span.links) == (None, ())


def test_a_span_not_sampled_is_followed_by_none_that_is(spans: InMemorySpanExporter) -> None:
    with tracing.linked_span("late", [FIRST[:-1] + "0"]):
        traceparent = tracing.current_traceparent()
    assert traceparent
    assert traceparent.endswith("-00")
    assert spans.get_finished_spans() == ()


def test_a_failure_is_told_by_its_kind_alone(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="a secret"), tracing.linked_span("late", [FIRST]):
        raise ValueError("a secret")
    (span,) = spans.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError")
    assert span.events == ()


def test_the_current_span_is_what_later_ones_follow_from(spans: InMemorySpanExporter) -> None:
    assert tracing.current_traceparent() is None
    with tracing.linked_span("late", [FIRST]):
        traceparent = tracing.current_traceparent()
    (span,) = spans.get_finished_spans()
    assert traceparent == f"00-{'a' * 32}-{span.context.span_id:016x}-01"
    assert len(traceparent) == 55


def test_while_tracing_is_off_nothing_happens() -> None:
    for context in (Flask(__name__).app_context(), Flask(__name__).test_request_context()):
        with context, tracing.linked_span("late", [FIRST]), tracing.untraced():
            assert tracing.current_traceparent() is None
    with tracing.linked_span("outside of any app", [FIRST]):
        assert tracing.current_traceparent() is None


def test_without_the_extra_a_collector_may_be_named_and_the_app_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nothing(_name: str) -> None:
        raise ModuleNotFoundError

    monkeypatch.setattr(tracing, "find_spec", nothing)
    monkeypatch.setenv(tracing.ENDPOINT, "http://127.0.0.1:9")
    app = Flask(__name__)
    log = CapturingLogger()  # the level that structlog is set to is another test's affair
    monkeypatch.setattr(tracing, "get_logger", lambda _name: log)
    tracing.install(app, "example")
    assert not tracing.is_on()
    assert tracing.PROVIDER not in app.extensions
    assert [call.args for call in log.calls] == [
        ("not tracing: the extra `tracing` is not installed",)
    ]


def test_with_the_extra_and_a_collector_tracing_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert importlib.util.find_spec("opentelemetry.instrumentation.flask")
    monkeypatch.setenv(tracing.ENDPOINT, "http://127.0.0.1:9")
    assert tracing.is_on()
    monkeypatch.delenv(tracing.ENDPOINT)
    assert not tracing.is_on()
