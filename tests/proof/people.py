"""Accounts and keys of each role on a running platform."""

from __future__ import annotations

import itertools
from typing import Any

from tests.stack import Stack, must

PASSWORD = "a quiet walk at dawn"
# Limits would end a fuzz run early; tests of their own hold them.
UNLIMITED = {
    "API_CALLS_PER_MINUTE": "0",
    "REGISTRATIONS_PER_MINUTE": "0",
    "SIGN_IN_FAILURES_PER_ADDRESS": "100000000",
}
numbers = itertools.count()


class People:
    """Makes accounts by the admin `keeper`, who must be the first account."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.register("keeper")
        self.admin = bearer(self.token("keeper"))

    def register(self, name: str) -> dict[str, Any]:
        """Returns the account, newly registered."""
        body = {"email": f"{name}@example.com", "username": name, "password": PASSWORD}
        url = f"{self.stack.users_url}/users"
        account: dict[str, Any] = must("POST", url, json=body).json()
        return account

    def token(self, name: str) -> str:
        """Returns a new access token."""
        form = {"grant_type": "password", "username": name, "password": PASSWORD}
        url = f"{self.stack.users_url}/token"
        access: str = must("POST", url, data=form).json()["access_token"]
        return access

    def signed_in(self, role: str) -> dict[str, str]:
        """Returns the headers of a new account of the role; `key` has an API key instead."""
        if role == "stranger":
            return {}
        if role == "key":
            return bearer(self.key("events:write", "events:read"))
        name = f"{role}{next(numbers)}"
        account = self.register(name)
        url = f"{self.stack.users_url}/users/{account['id']}"
        must("PATCH", url, json={"role": role}, headers=self.admin)
        return bearer(self.token(name))

    def key(self, *scopes: str) -> str:
        """Returns a new API key."""
        url = f"{self.stack.analytics_url}/analytics/api-keys"
        body = {"name": "proof", "scopes": list(scopes)}
        key: str = must("POST", url, json=body, headers=self.admin).json()["key"]
        return key


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}
