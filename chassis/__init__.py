"""The chassis of all three apps: config -> assemble (telemetry, errors, auth, limits, health).

It knows Flask and HTTP and no business word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flask import Flask, Response
from flask.typing import ResponseReturnValue
from flask_cors import CORS
from prometheus_client.registry import Collector
from werkzeug.middleware.proxy_fix import ProxyFix

from chassis import api, auth, compression, health, limits, problems, telemetry, tracing
from chassis.auth import Caller
from chassis.config import Settings
from chassis.content_coding import Request

Check = Callable[[], Any]

SERVICE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
}


def assemble(
    app: Flask,
    settings: Settings,
    *,
    authenticate: Callable[[], Caller | None],
    confirm: Callable[[Caller], None] | None = None,
    checks: Mapping[str, Check],
    degraded_checks: Mapping[str, Check] | None = None,
    collectors: Iterable[Collector] = (),
    client_address_secret: str | None = None,
    on_anonymous: Callable[[], ResponseReturnValue] | None = None,
    headers: Mapping[str, str] = SERVICE_HEADERS,
) -> None:
    """Gives an app what all three have in common; call it before the routes are registered.

    The order of what runs before a view: request id, metrics, caller, limit, access.
    """
    app.request_class = Request
    # One byte more than is allowed shows that a chunked body is over the limit.
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes + 1
    app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_body_bytes
    app.config["MAX_FORM_PARTS"] = 200
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["client_address_secret"] = client_address_secret
    telemetry.configure_logging(settings.service, settings.log_level)
    telemetry.install_request_log(app)
    telemetry.install_metrics(app, collectors)
    problems.install(app)
    compression.install(app)
    add_headers(app, headers)
    health.install(app, settings.service, checks, degraded_checks or {})
    auth.guard(app, authenticate, on_anonymous=on_anonymous)
    limits.install(app, settings)
    auth.enforce(app, confirm)
    api.install_paths(app)
    cors(app, settings)
    tracing.install(app, settings.service)
    app.wsgi_app = telemetry.KnownMethods(proxied(app, settings))  # type: ignore[method-assign]


def add_headers(app: Flask, headers: Mapping[str, str]) -> None:
    @app.after_request
    def add(response: Response) -> Response:
        for name, value in headers.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def cors(app: Flask, settings: Settings) -> None:
    """Lets the configured origins call from a browser; without any, no CORS header is sent."""
    if settings.cors_origins:
        CORS(
            app,
            origins=list(settings.cors_origins),
            allow_headers=[
                "Authorization",
                "Content-Encoding",
                "Content-Type",
                "Idempotency-Key",
                "X-Request-ID",
            ],
            expose_headers=["X-Request-ID", "Retry-After", "ETag", "As-Of"],
            max_age=600,
        )


def proxied(app: Flask, settings: Settings) -> Any:
    """Believes X-Forwarded-* from as many hops as are configured, and from none by default."""
    hops = settings.trusted_proxies
    return ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops) if hops else app.wsgi_app
