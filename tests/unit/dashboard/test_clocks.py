"""Clocks differ: of two dashboards, and of the services behind them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from chassis.client import Refused
from tests.stand_ins import replace_in
from tests.unit.dashboard.conftest import PASSWORD, Person, Platform, csrf_of


def sign_in_by_a_form_of(
    seconds: float, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> int:
    """Returns the status of a sign-in by a form that was made at that many seconds from now."""
    platform.person("ada")
    browser = platform.visitor()
    with Clock(monkeypatch, seconds).of("itsdangerous.timed"):
        token = csrf_of(browser.get("/login").text)
    form = {"username": "ada", "password": PASSWORD, "csrf_token": token}
    return browser.client.post("/login", data=form).status_code


@pytest.mark.parametrize(("ahead", "status"), [(1, 303), (5, 303), (25, 303), (45, 403)])
def test_a_form_of_a_dashboard_that_is_ahead_is_taken(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, ahead: int, status: int
) -> None:
    assert sign_in_by_a_form_of(ahead, platform, monkeypatch) == status


@pytest.mark.parametrize(("hours", "status"), [(11.9, 303), (12.1, 403)])
def test_a_form_is_good_for_twelve_hours(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, hours: float, status: int
) -> None:
    assert sign_in_by_a_form_of(-hours * 3600, platform, monkeypatch) == status


def refreshes(platform: Platform) -> int:
    return platform.users.calls.count("POST /token")


@pytest.mark.parametrize("ahead", [-3600, -25, 25])
def test_when_to_refresh_is_the_dashboards_own_time_alone(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    """A dashboard whose clock differs from the users service's by so much."""
    platform.person("ada")
    clock = Clock(monkeypatch, ahead)
    with clock.of("dashboard_app.session", "dashboard_app.store"):
        browser = platform.visitor()
        assert browser.sign_in("ada").status_code == 303
        for minutes in (0, 14, 14.6, 14.7):
            clock.offset = ahead + minutes * 60
            before = refreshes(platform)
            assert browser.get("/settings").status_code == 200
            assert (refreshes(platform) > before) == (minutes == 14.6), minutes


class Clock:
    """What some modules take for the time; all others have the machine's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, offset: float) -> None:
        self.patch, self.offset = monkeypatch, offset

    @contextmanager
    def of(self, *modules: str) -> Iterator[None]:
        with self.patch.context() as patched:
            replace_in(patched, time, *modules, time=lambda: time.time() + self.offset)
            yield


def test_a_new_token_that_a_service_refuses_is_no_way_to_the_sign_in_page(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would come back from there with another that is refused, and so on."""
    ada = platform.person("ada")

    def refuse(method: str, path: str, **_: Any) -> Any:
        raise Refused(401, {"detail": "The token is dated ahead: the clocks differ."})

    api = platform.app.extensions["analytics"].api
    monkeypatch.setattr(api, "call", refuse)
    answer = ada.get("/overview/types")
    assert answer.status_code == 503
    assert signed_in(ada)


def signed_in(person: Person) -> bool:
    return person.get("/settings").status_code == 200
