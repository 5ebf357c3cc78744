"""Who sent a change, from where: what the audit and the throttle know of a request."""

from __future__ import annotations

from dataclasses import dataclass

from flask import g, request

from chassis.auth import optional_caller
from chassis.limits import request_address

LONGEST_USER_AGENT = 200


@dataclass(frozen=True, slots=True)
class Origin:
    """The account that acts (None: nobody, or a command), its address and its program."""

    address: str
    user_agent: str = ""
    actor_id: int | None = None
    request_id: str | None = None


COMMAND = Origin(address="command line")


def origin() -> Origin:
    """Returns the origin of the current request."""
    caller = optional_caller()
    return Origin(
        address=request_address(),
        user_agent=printable(request.headers.get("User-Agent", ""))[:LONGEST_USER_AGENT],
        actor_id=caller.user_id if caller else None,
        request_id=g.get("request_id"),
    )


def printable(text: str) -> str:
    return "".join(each for each in text if each.isprintable())
