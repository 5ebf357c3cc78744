"""What every answer carries, and which requests may change something."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable
from typing import Any

from flask import Flask, Response, current_app, redirect, request, url_for
from flask.typing import ResponseReturnValue
from itsdangerous import BadSignature, URLSafeTimedSerializer

from chassis.config import MAX_CLOCK_DIFFERENCE_SECONDS
from chassis.errors import Forbidden
from dashboard_app import session

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
FORM_HOURS = 12
STALE_FORM = "This form is no longer valid. Load the page again, then repeat what you did."


class Headers:
    """WSGI layer around everything: each answer carries the policy, errors and files too."""

    def __init__(self, wsgi_app: Any, *, behind_https: bool) -> None:
        self.wsgi_app = wsgi_app
        self.headers = dict(SECURITY_HEADERS)
        if behind_https:
            self.headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            own = [each for each in headers if each[0] not in self.headers]
            return start_response(status, own + list(self.headers.items()), *rest)

        answer: Iterable[bytes] = self.wsgi_app(environ, start)
        return answer


def install(app: Flask) -> None:
    """Refuses forged requests before any view runs, and gives templates their token."""
    app.before_request(refuse_forgery)
    app.after_request(vary)
    app.jinja_env.globals["csrf_token"] = csrf_token


def vary(response: Response) -> Response:
    """Keeps a fragment from being taken for its page."""
    response.vary.add("HX-Request")
    return response


def refuse_forgery() -> ResponseReturnValue | None:
    """Raises Forbidden for a change that another site asked for, or without a valid token."""
    if request.method in SAFE_METHODS or request.url_rule is None:
        return None
    if not from_here():
        raise Forbidden("Another site sent this request.")
    given = request.headers.get("X-CSRF-Token") or request.form.get("csrf_token", "")
    if token_is_valid(given):
        return None
    if request.endpoint == "register.register" and session.csrf() and is_strangers(given):
        # Sent again after it has worked: who has an account now is signed in with it.
        return redirect(url_for("overview.page"), 303)
    raise Forbidden(STALE_FORM)


def from_here() -> bool:
    """Whether the browser says that one of our pages, or the user, sent the request.

    Programs that are no browser name neither site nor origin: the token decides for them.
    """
    if site := request.headers.get("Sec-Fetch-Site"):
        return site in ("same-origin", "none")
    if origin := request.headers.get("Origin"):
        return origin.partition("://")[2] == request.host
    return True


def csrf_token() -> str:
    """Returns the session's token; for a stranger one that says when it was made."""
    return session.csrf() or signer().dumps("stranger")


def token_is_valid(given: str) -> bool:
    """Whether the form's token is the session's, or a recent one made for strangers."""
    if known := session.csrf():
        return hmac.compare_digest(known.encode(), given.encode())
    return is_strangers(given)


def is_strangers(given: str) -> bool:
    """Whether the token is a recent one made for strangers."""
    try:
        _, made = signer().loads(given, return_timestamp=True)
    except BadSignature:
        return False
    # Another dashboard may have made it, by a clock that is ahead.
    return -MAX_CLOCK_DIFFERENCE_SECONDS <= time.time() - made.timestamp() <= FORM_HOURS * 3600


def signer() -> URLSafeTimedSerializer:
    assert current_app.secret_key is not None
    how = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}  # not SHA-1
    return URLSafeTimedSerializer(
        current_app.secret_key, salt="form of a stranger", signer_kwargs=how
    )
