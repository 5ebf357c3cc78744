"""Every route is closed unless it says who may come in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from flask import Flask, g, request
from flask.typing import ResponseReturnValue

from chassis.errors import Forbidden, Problem, Unauthenticated

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling: an account's user, another service, or a holder of an API key."""

    kind: Literal["user", "service", "key"]
    subject: str
    scopes: frozenset[str]
    user_id: int | None = None
    role: str = ""
    session_id: str | None = None

    @property
    def label(self) -> str:
        """What the caller is called in logs, and counted by: its kind and subject."""
        return f"{self.kind}:{self.subject}"

    def may(self, scope: str) -> bool:
        """Whether the caller holds the scope."""
        return scope in self.scopes


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use a view: everybody, any signed-in user, or holders of one of the scopes.

    `confirmed`: a user's session and role are asked for anew, wherever the token comes from.
    """

    everybody: bool = False
    any_user: bool = False
    scopes: frozenset[str] = frozenset()
    confirmed: bool = False

    def allows(self, caller: Caller) -> bool:
        """Whether the caller may come in."""
        if self.everybody or (self.any_user and caller.kind == "user"):
            return True
        return not self.scopes.isdisjoint(caller.scopes)


def public(view: View) -> View:
    """Opens the view to everybody, signed in or not."""
    return declare(view, Access(everybody=True))


def signed_in(view: View) -> View:
    """Opens the view to every user with a valid access token."""
    return declare(view, Access(any_user=True))


def requires(
    *scopes: str, or_user: bool = False, confirmed: bool = False
) -> Callable[[View], View]:
    """Opens the view to holders of any one of the scopes (and to every user if `or_user`).

    `confirmed` is for what can't be undone, or outlives the token that it is done with.
    """
    access = Access(any_user=or_user, scopes=frozenset(scopes), confirmed=confirmed)
    return lambda view: declare(view, access)


def declare(view: View, access: Access) -> View:
    view.access = access  # type: ignore[attr-defined]
    return view


def access_of(app: Flask, endpoint: str | None) -> Access:
    """Returns the view's declaration; one without it is closed to all."""
    view = app.view_functions.get(endpoint or "")
    return getattr(view, "access", Access())


def optional_caller() -> Caller | None:
    """Returns the caller of this request, or None."""
    return g.get("caller")


def caller() -> Caller:
    """Returns the caller of this request; raises Unauthenticated if there is none."""
    found = optional_caller()
    if found is None:
        raise Unauthenticated()
    return found


def guard(
    app: Flask,
    authenticate: Callable[[], Caller | None],
    *,
    on_anonymous: Callable[[], ResponseReturnValue] | None = None,
) -> None:
    """Names the caller of each request before it is counted, and closes views to strangers.

    `authenticate` returns the caller or None, or raises Unauthenticated for bad credentials.
    Register it before rate limits (they count by caller) and `enforce` after them.
    """

    @app.before_request
    def identify() -> None:
        if request.url_rule is None or request.method == "OPTIONS":
            return
        try:
            g.caller = authenticate()
        except Problem as problem:
            g.refusal = problem

    app.extensions["guard.on_anonymous"] = on_anonymous


def enforce(app: Flask, confirm: Callable[[Caller], None] | None = None) -> None:
    """Refuses the request unless the view's declaration lets the caller in.

    `confirm` raises a Problem unless a user's session and role still stand; an app without it
    has no `confirmed` views.
    """
    on_anonymous = app.extensions.get("guard.on_anonymous")

    @app.before_request
    def check_access() -> ResponseReturnValue | None:
        if request.url_rule is None or request.method == "OPTIONS":
            return None
        access = access_of(app, request.endpoint)
        if access.everybody:
            return None
        if "refusal" in g:
            raise g.refusal
        found = optional_caller()
        if found is None:
            if on_anonymous:
                return on_anonymous()
            raise Unauthenticated()
        if not access.allows(found):
            raise Forbidden()
        if access.confirmed and found.kind == "user":
            assert confirm is not None, "a confirmed view in an app that can't confirm"
            confirm(found)
        return None
