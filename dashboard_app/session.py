"""Who is signed in: one opaque cookie here, everything else in the store.

Three records belong to a session. Flask-Session's own (the CSRF token, the start) changes at
sign-in alone, so that a slow request can't write old values back. `tokens:` holds the tokens
and the account and is replaced under a lock. `seen:` lives as long as a session may be idle.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from flask import Flask, Response, current_app, g, request, session
from flask_session.cachelib import CacheLibSessionInterface
from flask_session.redis import RedisSessionInterface
from redis.exceptions import RedisError

from chassis.auth import Caller
from chassis.client import Refused
from chassis.errors import Unauthenticated, Unavailable
from dashboard_app.config import DashboardSettings
from dashboard_app.security import new_token
from dashboard_app.store import DOWN, FileStore, RedisStore, open_store

REFRESH_AHEAD = 30
TOUCH_EVERY = 30
SIGNED_OUT = "Your session has ended. Sign in again."

# Turns a refresh token into the users service's token answer and the account it is for.
Refresh = Callable[[str], tuple[dict[str, Any], dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the users service gave this session; `expires_at` is in epoch seconds."""

    access: str
    refresh: str
    expires_at: float
    scope: str
    account: dict[str, Any]

    @property
    def is_stale(self) -> bool:
        """Whether the access token is at, or nearly at, its end."""
        return time.time() > self.expires_at - REFRESH_AHEAD


class CookieGuard:
    """Lets a page that needs no session work while the store is down."""

    def open_session(self, app: Flask, req: Any) -> Any:
        try:
            return super().open_session(app, req)  # type: ignore[misc]
        except (RedisError, OSError):
            g.session_store_is_down = True
            return self.session_class(sid="")  # type: ignore[attr-defined]

    def save_session(self, app: Flask, opened: Any, response: Any) -> None:
        if g.get("session_store_is_down"):
            return
        super().save_session(app, opened, response)  # type: ignore[misc]
        if opened.modified and not opened:
            forget_cookie(app, response)


def forget_cookie(app: Flask, response: Response) -> None:
    """Removes the cookie with all its attributes: without Secure, `__Host-` ones stay."""
    response.delete_cookie(
        app.config["SESSION_COOKIE_NAME"],
        path="/",
        secure=app.config["SESSION_COOKIE_SECURE"],
        httponly=True,
        samesite="Lax",
    )


class GuardedRedis(CookieGuard, RedisSessionInterface):
    """Sessions in Redis."""


class GuardedFiles(CookieGuard, CacheLibSessionInterface):
    """Sessions in files."""


def install(app: Flask, settings: DashboardSettings) -> None:
    """Opens the store and keeps every session there, behind one opaque cookie."""
    store = open_store(settings)
    app.extensions["session_store"] = store
    app.config.update(
        SESSION_COOKIE_NAME="__Host-session" if settings.behind_https else "session",
        SESSION_COOKIE_SECURE=settings.behind_https,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH="/",
        SESSION_PERMANENT=True,
        PERMANENT_SESSION_LIFETIME=settings.session_absolute_hours * 3600,
        # Saving after every request would let a slow one write old values back.
        SESSION_REFRESH_EACH_REQUEST=False,
        IDLE_SECONDS=settings.session_idle_minutes * 60,
    )
    app.session_interface = interface(app, store)


def interface(app: Flask, store: FileStore | RedisStore) -> Any:
    if isinstance(store, RedisStore):
        return GuardedRedis(app, client=store.client, key_prefix="session:")
    return GuardedFiles(app, client=store.cache, key_prefix="session:")


def kept() -> FileStore | RedisStore:
    store: FileStore | RedisStore = current_app.extensions["session_store"]
    return store


def lifetime() -> int:
    return int(current_app.permanent_session_lifetime.total_seconds())


def key(kind: str) -> str:
    return f"{kind}:{session.sid}"  # type: ignore[attr-defined]


def sign_in(answer: dict[str, Any], account: dict[str, Any]) -> None:
    """Begins a session under a new id from the users service's token answer."""
    session.clear()
    session["csrf"] = new_token()
    session["started"] = int(time.time())
    current_app.session_interface.regenerate(session)  # type: ignore[attr-defined]
    keep_tokens(tokens_from(answer, account))
    kept().put(key("seen"), {"at": int(time.time())}, current_app.config["IDLE_SECONDS"])


def sign_out() -> None:
    """Forgets the session, here and in the browser."""
    if session.get("csrf"):
        kept().drop(key("tokens"), key("seen"))
    g.pop("tokens", None)
    session.clear()


def tokens_from(answer: dict[str, Any], account: dict[str, Any]) -> Tokens:
    return Tokens(
        answer["access_token"],
        answer["refresh_token"],
        time.time() + int(answer["expires_in"]),
        answer.get("scope", ""),
        account,
    )


def keep_tokens(tokens: Tokens) -> None:
    record = {name: getattr(tokens, name) for name in Tokens.__slots__}
    kept().put(key("tokens"), record, lifetime())
    g.tokens = tokens


def tokens() -> Tokens | None:
    """Returns this session's tokens, or None for a stranger or one who was idle too long."""
    if "tokens" not in g:
        g.tokens = stored_tokens() if is_alive() else None
    found: Tokens | None = g.tokens
    return found


def stored_tokens() -> Tokens | None:
    record = kept().get(key("tokens"))
    return Tokens(**record) if record else None


def is_alive() -> bool:
    """Whether the session exists, is younger than its absolute and its idle limit."""
    if g.get("session_store_is_down"):
        raise Unavailable(DOWN)
    if not session.get("csrf") or time.time() > session["started"] + lifetime():
        return False
    return was_seen()


def was_seen() -> bool:
    """Whether someone used the session lately; a page that polls by itself does not count."""
    seen = kept().get(key("seen"))
    if seen is None:
        return False
    if "X-Background" not in request.headers:
        now = int(time.time())
        if now - seen["at"] >= TOUCH_EVERY:
            kept().put(key("seen"), {"at": now}, current_app.config["IDLE_SECONDS"])
    return True


def authenticate() -> Caller | None:
    """Names the caller of this request by the session; raises Unavailable without a store."""
    found = tokens()
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


def account() -> dict[str, Any] | None:
    """Returns the account of who is signed in, as the users service last told it."""
    found: Tokens | None = g.get("tokens")
    return found.account if found else None


def change_account(changed: dict[str, Any]) -> None:
    """Keeps the account as the users service has just answered it."""
    with kept().lock(key("tokens")):
        if current := stored_tokens():
            keep_tokens(replace(current, account=changed))


def access_token(refresh: Refresh) -> str:
    """Returns a token that is good for a while yet; raises Unauthenticated when none can be had."""
    found = tokens()
    if found is None:
        raise Unauthenticated(SIGNED_OUT)
    return renewed(found, refresh).access if found.is_stale else found.access


def renewed(spent: Tokens, refresh: Refresh) -> Tokens:
    """Replaces the tokens once, however many requests of the session ask for it together."""
    with kept().lock(key("tokens")):
        current = stored_tokens()
        if current is None:
            raise Unauthenticated(SIGNED_OUT)
        if current.access == spent.access:
            current = tokens_from(*answer_for(current.refresh, refresh))
        keep_tokens(current)
    return current


def answer_for(refresh_token: str, refresh: Refresh) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        return refresh(refresh_token)
    except Refused as refused:
        if refused.status in (400, 401):
            raise Unauthenticated(SIGNED_OUT) from None
        raise
