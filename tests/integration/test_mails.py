"""A mail server that takes mails and says nothing: what else the relay does, and its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.integration.users_service import Api, users_stack
from tests.servers import BUSY_SECONDS, wait_until
from tests.smtp import SmtpServer, smtp_server
from tests.stack import Stack

CONTAINERS_WAIT = 10.0  # from SIGTERM to SIGKILL


@pytest.fixture
def server() -> Iterator[SmtpServer]:
    with smtp_server() as made:
        yield made
        made.hold.set()


@pytest.fixture(params=["sqlite", "postgresql"])
def stack(request: pytest.FixtureRequest, server: SmtpServer) -> Iterator[Stack]:
    parts = ("users", "relay", "analytics")
    mail = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(server.port), "SMTP_SECURITY": "none"}
    if request.param == "sqlite":
        with users_stack("sqlite://", parts, settings=mail) as running:
            yield running
        return
    make: Callable[[], str] = request.getfixturevalue("new_postgres_database")
    with users_stack(make(), parts, analytics_database_url=make(), settings=mail) as running:
        yield running


def test_while_the_mail_server_is_silent_events_are_delivered_and_the_relay_can_end(
    stack: Stack, server: SmtpServer
) -> None:
    server.hold.clear()
    users, analytics = Api(stack.users_url), Api(stack.analytics_url)
    names = ["root", *(f"person{number}" for number in range(6))]
    for name in names:
        assert users.register(name).status_code == 201
        reset = users.call("POST", "/password-reset", json={"email": f"{name}@example.com"})
        assert reset.status_code == 202
    wait_until("mails under way", lambda: len(server.taken) == 5, 20)

    me = users.sign_in("root").json()
    token, user_id = me["access_token"], me["user"]["id"]

    def told() -> bool:
        answer = analytics.call("GET", f"/analytics/users/{user_id}/events", token)
        return "user_logged_in" in answer.text

    wait_until("the sign-in in analytics", told, 5 + BUSY_SECONDS)

    relay = stack.processes["relay"]
    relay.terminate()
    assert relay.wait(CONTAINERS_WAIT) == 0
    assert "mails unanswered at the end" in stack.log("relay")
    assert len(stack.flask("users_app", "mails", "list").splitlines()) == len(names)
