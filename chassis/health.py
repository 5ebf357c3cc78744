"""`/health`, `/health/live` and `/metrics`: open to all, counted for none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Flask, Response, jsonify

from chassis.auth import public
from chassis.telemetry import exposition, get_logger
from chassis.version import VERSION

Check = Callable[[], Any]
log = get_logger(__name__)


def install(
    app: Flask,
    service: str,
    checks: Mapping[str, Check],
    degraded_checks: Mapping[str, Check],
) -> None:
    """Answers readiness from `checks` (503 when one fails) and `degraded_checks` (200 still)."""
    routes = Blueprint("chassis", __name__)

    @routes.get("/health")
    @public
    def health() -> tuple[Response, int]:
        needed = {name: outcome(name, check) for name, check in checks.items()}
        useful = {name: outcome(name, check) for name, check in degraded_checks.items()}
        ready = all(each == "ok" for each in needed.values())
        whole = all(each == "ok" for each in useful.values())
        status = ("ok" if whole else "degraded") if ready else "down"
        found = {**needed, **useful}
        body = {
            "status": status,
            "service": service,
            "version": VERSION,
            "checks": found,
        }
        return jsonify(body), 200 if ready else 503

    @routes.get("/health/live")
    @public
    def live() -> Response:
        return jsonify(status="ok", service=service, version=VERSION)

    @routes.get("/metrics")
    @public
    def metrics() -> Response:
        return Response(exposition(app), content_type="text/plain; version=0.0.4; charset=utf-8")

    app.register_blueprint(routes)


def outcome(name: str, check: Check) -> str:
    try:
        check()
    except Exception as error:  # whatever it is, the dependency is not well
        log.warning("health check failed", check=name, error=type(error).__name__)
        return "down"
    return "ok"
