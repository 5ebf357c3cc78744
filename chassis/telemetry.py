"""JSON logs, Prometheus metrics and request ids, the same in every app."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterable, MutableMapping
from functools import cache
from typing import Any

import structlog
from flask import Flask, Request, Response, g, request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector
from prometheus_flask_exporter import PrometheusMetrics

from chassis.auth import Caller
from chassis.worker_metrics import WorkersCollector

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
QUIET = ("/health", "/metrics", "/.well-known/revoked")


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Returns a logger that writes one JSON object a line."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(source=name)
    return logger


def configure_logging(service: str, level: str) -> None:
    """Sends our logs and the libraries' to stdout, one JSON object a line."""
    structlog.configure(
        processors=[*steps(service), structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(json_formatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def steps(service: str) -> list[Any]:
    """Returns what turns one log call into the fields of its line."""

    def identify(
        _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        return {"service": service, "request_id": None, "user_id": None, **event}

    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        identify,
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
    ]


def json_formatter(service: str) -> logging.Formatter:
    """Returns a formatter that gives the libraries' log lines the shape of ours."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=steps(service),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
    )


class KnownMethods:
    """WSGI layer: a made-up method reaches Flask (and a metric's label) as `UNKNOWN`."""

    def __init__(self, wsgi_app: Any) -> None:
        self.wsgi_app = wsgi_app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("REQUEST_METHOD") not in METHODS:
            environ["REQUEST_METHOD"] = "UNKNOWN"
        answer: Iterable[bytes] = self.wsgi_app(environ, start_response)
        return answer


def install_request_log(app: Flask) -> None:
    """Gives each request its id, and one log line when it is answered."""
    log = get_logger("request")

    @app.before_request
    def begin() -> None:
        g.started = time.perf_counter()
        g.told = {}
        g.request_id = request_id(request.headers.get("X-Request-ID", ""))
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)

    @app.after_request
    def end(response: Response) -> Response:
        response.headers["X-Request-ID"] = g.get("request_id", "")
        if not request.path.startswith(QUIET):
            seconds = time.perf_counter() - g.get("started", 0)
            caller = g.get("caller")
            told = summary(request.method, route(request), response.status_code, seconds, caller)
            log.info("request", **(told | g.get("told", {})))
        return response


def tell(**fields: int) -> None:
    """Adds fields to the log line of this request, or replaces them.

    `account_id` is the account that a sign-in is about, `user_id` who has proven to be it.
    """
    g.setdefault("told", {}).update(fields)


def request_id(given: str) -> str:
    """Returns the id a request came with, or a new one if that is none."""
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def recorder(
    app: Flask, method: str, rule: str
) -> Callable[[int, float, str, Caller | None], None]:
    """Returns what logs and counts a request that was answered beside Flask, as Flask's own are.

    It is called with the status, the seconds it took, the request id and the caller.
    """
    log = get_logger("request").bind()
    collectors = metrics_registry(app)._names_to_collectors
    durations: Any = collectors["flask_http_request_duration_seconds"]
    requests: Any = collectors["flask_http_request_total"]

    @cache  # to find the series of some labels costs more than to count
    def series(status: int) -> tuple[Any, Any]:
        labelled = durations.labels(method=method, url_rule=rule, status=status)
        return labelled, requests.labels(method=method, status=status)

    def record(status: int, seconds: float, request_id: str, caller: Caller | None) -> None:
        duration, count = series(status)
        duration.observe(seconds)
        count.inc()
        log.info("request", request_id=request_id, **summary(method, rule, status, seconds, caller))

    return record


def summary(
    method: str, rule: str, status: int, seconds: float, caller: Caller | None
) -> dict[str, Any]:
    """Returns what a request's log line tells."""
    return {
        "method": method,
        "route": rule,
        "status": status,
        "duration_ms": round(seconds * 1000, 2),
        "user_id": caller.user_id if caller else None,
        "caller": caller.label if caller else None,
    }


def route(of: Request) -> str:
    """Returns the route template, so that no path an outsider makes up becomes a label."""
    return str(of.url_rule) if of.url_rule else "unmatched"


def url_rule(of: Request) -> str:
    """Names the metric label; the exporter takes the function's name for it."""
    return route(of)


def multiprocess() -> bool:
    """Whether several workers share their metrics through files."""
    return bool(os.environ.get("PROMETHEUS_MULTIPROC_DIR"))


def install_metrics(app: Flask, collectors: Iterable[Collector] = ()) -> None:
    """Counts requests by route template; `/metrics` answers for all workers together."""
    # Several apps may live in one process (tests do that): each has its own registry.
    registry = CollectorRegistry()
    PrometheusMetrics(
        app,
        path=None,
        registry=registry,
        group_by=url_rule,
        buckets=BUCKETS,
        excluded_paths=["^/metrics$", "^/health"],
    )
    app.extensions["metrics.registry"] = registry
    app.extensions["metrics.collectors"] = list(collectors)


def metrics_registry(app: Flask) -> CollectorRegistry:
    """Returns the registry that an app's own counters and histograms belong to."""
    registry: CollectorRegistry = app.extensions["metrics.registry"]
    return registry


def exposition(app: Flask) -> bytes:
    """Returns the text that Prometheus scrapes: all workers, then what is asked just now."""
    registry = metrics_registry(app)
    if multiprocess():
        registry = CollectorRegistry()
        WorkersCollector(registry)  # type: ignore[no-untyped-call]
    text: bytes = generate_latest(registry)
    asked = CollectorRegistry()
    for collector in app.extensions["metrics.collectors"]:
        asked.register(collector)
    return text + generate_latest(asked)
