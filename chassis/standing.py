"""Sessions and roles as the users service has them, for apps that verify its tokens.

Apart from the list itself, which is also followed where no token is ever verified.
"""

from __future__ import annotations

from typing import Any

from flask import request

from chassis.auth import Caller
from chassis.bearer import bearer_credential, invalid_token
from chassis.client import ApiClient, Refused
from chassis.errors import Unavailable
from chassis.revocation import RevocationList


class RemoteStanding:
    """Sessions and roles at the users service: by its list, and where it matters by asking."""

    def __init__(self, users_url: str) -> None:
        self.list = RevocationList(users_url)
        self.users = ApiClient(users_url, "users", timeout=(1.0, 2.0))

    def revokes(self, session_id: str, issued_at: int) -> bool:
        """Whether a token of the session, issued at that Unix second, no longer holds."""
        return self.list.revokes(session_id, issued_at)

    def check(self) -> None:
        """Raises Unavailable if the list is older than 10 s, or was never had."""
        self.list.check()

    def confirm(self, caller: Caller) -> None:
        """Asks with the caller's own token; raises Unauthenticated, or Unavailable."""
        token = bearer_credential(request.headers.get("Authorization"))
        try:
            account: Any = self.users.call("GET", "/users/me", token=token).json()
            role = account["role"]
        except Refused as refusal:
            raise ended() if refusal.status == 401 else unconfirmed() from None
        except (ValueError, LookupError, TypeError):
            raise unconfirmed() from None
        if role != caller.role:
            raise ended()


def ended() -> Exception:
    return invalid_token("The session has ended or its role has changed: refresh, or sign in.")


def unconfirmed() -> Exception:
    return Unavailable("Whether this session still stands can't be known right now.")
