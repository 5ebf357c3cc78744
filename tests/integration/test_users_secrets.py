"""No password, token or key of a whole run is in any log, outbox row or audit row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from chassis.database import database_url as normal_url
from tests.integration.users_service import PASSWORD, Api, users_stack
from tests.servers import wait_until
from tests.stack import Stack
from tests.unit.users.receiver import StandIn

CHANGED, RESET, WRONG = "changed horse battery", "reset horse battery", "mistyped horse battery"


class Run:
    """One of everything, and every secret that was given or taken on the way."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.api = Api(stack.users_url)
        environment = stack.environment
        pem = "".join(environment["JWT_PRIVATE_KEY"].splitlines()[1:-1])
        self.secrets = [
            PASSWORD, CHANGED, RESET, WRONG, pem[40:80],
            environment["SECRET_KEY"], environment["CLIENT_ADDRESS_SECRET"],
        ]  # fmt: skip

    def keep(self, tokens: dict[str, Any]) -> dict[str, Any]:
        # A token's signature, and a refresh token's own part.
        self.secrets += [tokens["access_token"].rpartition(".")[2], tokens["refresh_token"]]
        return tokens

    def do_everything(self) -> None:
        api = self.api
        api.register("root")
        admin = self.keep(api.tokens("root"))["access_token"]
        invite = api.call("POST", "/invites", admin, json={"email": "i@b.test"}).json()["invite"]
        self.secrets.append(invite)
        api.register("ada", email="i@b.test", invite=invite)
        ada = self.keep(api.tokens("ada"))
        self.keep(api.refresh(ada["refresh_token"]).json())
        api.sign_in("ada", WRONG)
        api.sign_in(WRONG, PASSWORD)
        api.call("GET", f"/users/me?password={WRONG}", ada["access_token"])
        api.call("GET", "/users/me", ada["access_token"] + "x")
        body = {"current_password": PASSWORD, "new_password": CHANGED}
        api.call("PUT", "/users/me/password", ada["access_token"], json=body)
        self.reset()
        api.call("POST", "/token", data={"grant_type": "password", "username": WRONG})
        api.call("DELETE", "/users/me", ada["access_token"], json={"current_password": RESET})
        api.call("POST", "/logout", admin)

    def reset(self) -> None:
        self.api.call("POST", "/password-reset", json={"email": "i@b.test"})
        wait_until("the mail", lambda: bool(self.codes()), 20)
        (code,) = self.codes()
        self.secrets.append(code)
        body = {"token": code, "new_password": RESET}
        assert self.api.call("POST", "/password-reset/confirm", json=body).status_code == 204

    def codes(self) -> list[str]:
        folder = Path(self.stack.environment["MAIL_DIR"])
        text_of = "".join(each.read_text() for each in folder.glob("*.eml"))
        return re.findall(r"token=(\S+)", text_of)


def rows(url: str) -> str:
    """Returns everything in the outbox and the audit trail, and all other tables too."""
    engine = create_engine(normal_url(url))
    with engine.connect() as connection:
        tables = ("outbox", "audit", "sessions", "users", "invites", "mails", "password_resets")
        found = [connection.execute(text(f"SELECT * FROM {each}")).all() for each in tables]
    engine.dispose()
    return str(found)


def test_no_secret_of_a_run_is_kept_in_clear(database_url: str) -> None:
    analytics = StandIn(lambda *_: (503, {}, {}))  # so that all stays in the outbox
    settings = {"ANALYTICS_URL": analytics.url, "LOG_LEVEL": "DEBUG"}
    try:
        with users_stack(database_url, ("users", "relay"), settings=settings) as stack:
            run = Run(stack)
            run.do_everything()
            stack.stop()
            logs = stack.log("users") + stack.log("relay")
            kept = rows(stack.environment["USERS_DATABASE_URL"])
    finally:
        analytics.close()
    assert "user_registered" in kept
    assert logs.count('"message": "request"') > 10
    found = [secret for secret in run.secrets if secret in logs or secret in kept]
    assert found == []
    assert len(run.secrets) > 12
