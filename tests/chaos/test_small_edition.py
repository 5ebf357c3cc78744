"""A few of the faults of `make chaos`, at every run: what is acknowledged stays, and once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from tests.chaos import faults
from tests.chaos.actors import ADDRESSES, PASSWORD, Client, Place, new_name
from tests.chaos.history import History
from tests.chaos.platform import Platform
from tests.chaos.trial import tried

PER_MINUTE = 60  # REGISTRATIONS_PER_MINUTE


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with Platform() as running:
        yield running


@pytest.mark.parametrize(
    "fault",
    [faults.killed("analytics"), faults.killed("relay"), faults.database_killed("users")],
    ids=lambda fault: fault.name,
)
def test_nothing_acknowledged_is_lost_doubled_or_misplaced(
    platform: Platform, fault: faults.Fault
) -> None:
    row = tried(platform, fault)
    assert row.complaints == [], platform.errors()[-3:]
    assert row.acknowledged > 0


def test_the_crowd_meets_the_limits_of_the_product(platform: Platform) -> None:
    urls = (platform.users_url, platform.analytics_url, platform.dashboard_url)
    unused = iter(range(ADDRESSES, 2 * ADDRESSES))
    place = Place(*urls, platform.new_key(), "limits", History(), addresses=unused)
    one, other = Client(place), Client(place)
    statuses = [register(one).status_code for _ in range(PER_MINUTE + 1)]
    # A minute of the limit may end meanwhile: then the next one begins with a call of its own.
    while statuses[-1] == 201 and len(statuses) <= 2 * PER_MINUTE:
        statuses.append(register(one).status_code)
    assert statuses.count(201) >= PER_MINUTE
    assert statuses[-1] == 429
    assert 1 <= int(register(one).headers["Retry-After"]) <= 60
    assert register(other).status_code == 201, "another address"


def register(client: Client) -> requests.Response:
    name = new_name()
    body = {"email": f"{name}@example.com", "username": name, "password": PASSWORD}
    answer = client.call_once("users", "POST", "/users", json=body)
    assert answer is not None
    return answer
