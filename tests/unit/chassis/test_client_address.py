"""A forwarded address counts only with the dashboard's proof."""

from __future__ import annotations

import pytest
from flask import Flask

from chassis.client_address import (
    ADDRESS,
    PROOF,
    client_address,
    forwarded_headers,
    throttle_key,
)

SECRET = "a secret of this test"
app = Flask(__name__)


def seen(headers: dict[str, str], secret: str | None = SECRET) -> str:
    with app.test_request_context(headers=headers, environ_base={"REMOTE_ADDR": "127.0.0.9"}):
        return client_address(secret)


def test_the_proven_address_is_believed() -> None:
    assert seen(forwarded_headers("203.0.113.7", SECRET)) == "203.0.113.7"


@pytest.mark.parametrize(
    "headers",
    [
        {ADDRESS: "203.0.113.7"},
        {ADDRESS: "203.0.113.7", PROOF: "0" * 64},
        {ADDRESS: "203.0.113.7", PROOF: "\u00e9"},
        {**forwarded_headers("203.0.113.7", SECRET), ADDRESS: "203.0.113.8"},
        forwarded_headers("203.0.113.7", "another secret"),
        forwarded_headers("no address", SECRET),
        {"X-Forwarded-For": "203.0.113.7"},
    ],
)
def test_any_other_claim_is_ignored(headers: dict[str, str]) -> None:
    assert seen(headers) == "127.0.0.9"


def test_without_a_secret_nothing_is_believed() -> None:
    assert seen(forwarded_headers("203.0.113.7", SECRET), secret=None) == "127.0.0.9"


def test_ipv6_counts_by_its_64_bit_network() -> None:
    assert throttle_key("2001:db8:1:2:3::4") == throttle_key("2001:db8:1:2:ffff::1")
    assert throttle_key("2001:db8:1:3::4") != throttle_key("2001:db8:1:2::4")
    assert throttle_key("203.0.113.7") != throttle_key("203.0.113.8")
