"""Readiness is answered in time, whatever its checks do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from flask import Flask, current_app

from chassis import assemble
from chassis.config import Settings
from tests.servers import BUSY_SECONDS

PROMISED_SECONDS = 3.0


class ExampleSettings(Settings):
    service: ClassVar[str] = "example"


@pytest.fixture
def hang() -> Iterator[Callable[[], Any]]:
    """Yields a check that hangs until the test is over."""
    over = threading.Event()
    yield over.wait
    over.set()


def answer(**given: Any) -> tuple[int, dict[str, Any]]:
    app = Flask(__name__)
    assemble(app, ExampleSettings(), authenticate=lambda: None, **given)
    found = app.test_client().get("/health")
    return found.status_code, found.get_json()


def refuse() -> None:
    raise RuntimeError


def test_what_is_needed_and_what_is_useful() -> None:
    assert answer(checks={"a": str})[1]["status"] == "ok"
    assert answer(checks={"a": str}, degraded_checks={"b": refuse})[1]["status"] == "degraded"
    status, body = answer(checks={"a": refuse}, degraded_checks={"b": str})
    assert (status, body["status"]) == (503, "down")
    assert body["checks"] == {"a": "down", "b": "ok"}


def test_a_check_that_hangs_is_down_in_time_and_hides_no_other(hang: Callable[[], Any]) -> None:
    begun = time.monotonic()
    status, body = answer(checks={"a": hang, "b": str}, degraded_checks={"c": hang, "d": str})
    assert time.monotonic() - begun < PROMISED_SECONDS + BUSY_SECONDS
    assert status == 503
    assert body["checks"] == {"a": "down", "b": "ok", "c": "down", "d": "ok"}


def test_a_check_knows_its_app() -> None:
    assert answer(checks={"a": lambda: current_app.extensions})[0] == 200
