"""The demo's data: believable, loaded through the batch endpoint, and never twice."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import requests

from tests.stack import Stack


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "secrets").mkdir()
    return tmp_path


def load(stack: Stack, home: Path) -> None:
    stack.environment |= {"PYTHONUNBUFFERED": "1"}
    stack.run(sys.executable, "-m", "ops.demo", "--home", str(home))


def totals(stack: Stack, home: Path) -> dict[str, int]:
    form = {
        "grant_type": "password",
        "username": "ada",
        "password": (home / "secrets/demo_password").read_text(),
    }
    token = requests.post(f"{stack.users_url}/token", data=form, timeout=20).json()["access_token"]
    answer = requests.get(
        f"{stack.analytics_url}/analytics/summary?start=2020-01-01",
        headers={"Authorization": f"Bearer {token}"}, timeout=60,
    ).json()  # fmt: skip
    # The admin's own sign-ins are not part of the demo's data; the relay does not run here.
    return {**answer["events_by_type"], "unique_users": answer["unique_users"]}


def batches_of(stack: Stack) -> int:
    return stack.log("analytics").count('"/analytics/events/batch"')


def test_ninety_believable_days_are_loaded_once_however_often(home: Path) -> None:
    with Stack(parts=("users", "analytics")) as stack:
        load(stack, home)
        first = totals(stack, home)
        # As if the first run had been earlier: only what has happened since may be added.
        batches = batches_of(stack)
        load(stack, home)
        second = totals(stack, home)
        assert batches_of(stack) - batches <= 2, "only what is missing is sent"
    kinds = [kind for kind in first if kind != "unique_users"]
    events = sum(first[kind] for kind in kinds)
    assert 180_000 < events < 260_000
    assert 1_800 < first["user_registered"] < 2_100
    assert len(kinds) >= 10
    grown = sum(second[kind] for kind in kinds) - events
    assert 0 <= grown < 200
