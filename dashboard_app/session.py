"""Who is signed in: one opaque cookie here, everything else in the store.

Two records belong to a session. `session` is written at sign-in, and replaced as a whole under
a lock when tokens or account change, so that a slow request can't write old values back.
`seen` lives as long as a session may be idle.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import flask
from flask import Flask, Request, Response, current_app, g, request
from flask.sessions import SessionInterface, SessionMixin

from chassis.auth import Caller
from chassis.client import Refused
from chassis.errors import Problem, Unauthenticated, Unavailable
from chassis.revocation import RevocationList
from chassis.telemetry import tell
from dashboard_app.config import DashboardSettings
from dashboard_app.store import Store, open_store

REFRESH_AHEAD = 30
TOUCH_EVERY = 30
# Not cookies: the theme stays.
CLEARED = '"cache", "storage"'
SIGNED_OUT = "Your session has ended. Sign in again."

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Session:
    """One signed-in browser, with what the users service gave it; times are in epoch seconds.

    `sid` names the session there, and has nothing to do with the id in the cookie.
    """

    csrf: str
    started: float
    sid: str
    access: str
    issued_at: int
    refresh: str
    expires_at: float
    scope: str
    account: Json

    @property
    def is_stale(self) -> bool:
        """Whether the access token is at, or nearly at, its end."""
        return time.time() > self.expires_at - REFRESH_AHEAD


class Cookie(dict[str, Any], SessionMixin):
    """The session's id in this browser: `sid`, "" for none. Nothing else is ever kept here."""

    def __init__(self, sid: str) -> None:
        super().__init__()
        self.sid = self.received = sid


class OpaqueCookies(SessionInterface):
    """Flask's way to the browser's cookie; it is written where the id has changed."""

    def open_session(self, app: Flask, request: Request) -> Cookie:
        return Cookie(request.cookies.get(self.get_cookie_name(app), ""))

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        assert isinstance(session, Cookie)
        response.vary.add("Cookie")
        # With all its attributes also where it goes: without Secure, `__Host-` ones stay.
        attributes: Any = {
            "path": "/",
            "secure": self.get_cookie_secure(app),
            "httponly": True,
            "samesite": "Lax",
        }
        name = self.get_cookie_name(app)
        if session.sid and session.sid != session.received:
            response.set_cookie(name, session.sid, max_age=lifetime(), **attributes)
        elif session.received and not session.sid:
            response.delete_cookie(name, **attributes)
            response.headers["Clear-Site-Data"] = CLEARED


def install(app: Flask, settings: DashboardSettings) -> None:
    """Opens the store and keeps every session there, behind one opaque cookie."""
    app.extensions["session_store"] = open_store(settings)
    app.extensions["revocations"] = RevocationList(settings.users_url)
    app.config.update(
        SESSION_COOKIE_NAME="__Host-session" if settings.behind_https else "session",
        SESSION_COOKIE_SECURE=settings.behind_https,
        PERMANENT_SESSION_LIFETIME=settings.session_absolute_hours * 3600,
        IDLE_SECONDS=settings.session_idle_minutes * 60,
    )
    app.session_interface = OpaqueCookies()


def store() -> Store:
    opened: Store = current_app.extensions["session_store"]
    return opened


def lifetime() -> int:
    return int(current_app.permanent_session_lifetime.total_seconds())


def cookie() -> Cookie:
    opened = flask.session._get_current_object()  # type: ignore[attr-defined]
    assert isinstance(opened, Cookie)
    return opened


def sign_in(answer: Json, account: Json) -> None:
    """Begins a session under a new id from the users service's token answer.

    The one that the browser brought ends: somebody else may know its id.
    """
    end()
    cookie().sid = secrets.token_urlsafe(32)
    tell(user_id=account["id"], account_id=account["id"])
    form_token, tokens = secrets.token_urlsafe(24), tokens_from(answer)
    keep(Session(csrf=form_token, started=time.time(), account=account, **tokens))
    touch()


def end() -> None:
    """Ends the session, if there is one, at the users service, which may be down, and here."""
    with suppress(Problem, Refused):
        current_app.extensions["users"].logout()
    sign_out()


def sign_out() -> None:
    """Forgets the session, here and in the browser."""
    sid = cookie().sid
    if sid:
        with store().lock(sid):
            store().drop(sid, "session", "seen")
    cookie().sid = ""
    g.session = None


def tokens_from(answer: Json) -> Json:
    claims = claims_of(answer["access_token"])
    return {
        "sid": claims["sid"],
        "issued_at": claims["iat"],
        "access": answer["access_token"],
        "refresh": answer["refresh_token"],
        "expires_at": time.time() + int(answer["expires_in"]),
        "scope": answer["scope"],
    }


def claims_of(access_token: str) -> Json:
    """Returns what a token says that the users service itself has just given us."""
    payload = access_token.split(".")[1]
    # Tokens leave the padding out; more of it than is wanted does no harm.
    claims: Json = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return claims


def keep(session: Session) -> None:
    left = session.started + lifetime() - time.time()
    store().put("session", cookie().sid, asdict(session), left)
    g.session = session


def touch() -> None:
    seen = {"at": int(time.time())}
    store().put("seen", cookie().sid, seen, current_app.config["IDLE_SECONDS"])


def current() -> Session | None:
    """Returns this browser's session, or None for a stranger or one who was idle too long.

    Raises Unauthenticated if the users service has ended it, and Unavailable while the store is
    down or what has ended was never heard.
    """
    if "session" not in g:
        g.session = None
        found = stored() if cookie().sid and was_seen() else None
        g.session = standing(found) if found else None
    current: Session | None = g.session
    return current


def standing(found: Session) -> Session:
    """Returns the session as it holds now: a change at the users service asks for new tokens."""
    revocations: RevocationList = current_app.extensions["revocations"]
    return renewed(found) if revocations.revokes(found.sid, found.issued_at) else found


def stored() -> Session | None:
    record = store().get("session", cookie().sid)
    return Session(**record) if record else None


def was_seen() -> bool:
    """Whether someone used the session lately; a page that polls by itself does not count."""
    seen = store().get("seen", cookie().sid)
    if seen is None:
        return False
    if "X-Background" not in request.headers and time.time() - seen["at"] >= TOUCH_EVERY:
        touch()
    return True


def csrf() -> str | None:
    """Returns the session's form token; None for a stranger, and while the store is down."""
    with suppress(Problem):
        if found := current():
            return found.csrf
    return None


def authenticate() -> Caller | None:
    """Names the caller of this request by the session; raises Unavailable without a store."""
    found = current()
    if found is None:
        return None
    account = found.account
    return Caller(
        kind="user",
        subject=str(account["id"]),
        scopes=frozenset(found.scope.split()),
        user_id=account["id"],
        role=account["role"],
    )


def account() -> Json | None:
    """Returns the account of who is signed in, as the users service last told it."""
    found: Session | None = g.get("session")
    return found.account if found else None


def change_account(changed: Json) -> None:
    """Keeps the account as the users service has just answered it."""
    with store().lock(cookie().sid):
        if found := stored():
            keep(replace(found, account=changed))


def access_token() -> str:
    """Returns a token that is good for a while yet; raises Unauthenticated when none can be had."""
    found = current()
    if found is None:
        raise Unauthenticated(SIGNED_OUT)
    return renewed(found).access if found.is_stale else found.access


def renewed(spent: Session) -> Session:
    """Replaces the tokens once, however many requests of the session ask for it together."""
    with store().lock(cookie().sid):
        found = stored()
        if found is None:
            raise Unauthenticated(SIGNED_OUT)
        if found.access == spent.access:
            answer, account = refreshed(found.refresh)
            found = replace(found, **tokens_from(answer), account=account)
            keep(found)
    g.session = found
    return found


def refreshed(refresh_token: str) -> tuple[Json, Json]:
    """Returns the users service's new token answer and the account it is for."""
    try:
        answer: tuple[Json, Json] = current_app.extensions["users"].refresh(refresh_token)
    except Refused as refused:
        if refused.status in (400, 401):
            raise Unauthenticated(SIGNED_OUT) from None
        # A Problem, as all expect who ask for the caller: error pages do too.
        raise Unavailable(str(refused)) from None
    return answer
