"""`Authorization: Bearer`: access tokens by JWKS, and API keys by a look-up of the app's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol

import jwt
import requests
from flask import Flask, request
from flask_jwt_extended import JWTManager, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException

from chassis.auth import Caller
from chassis.client import pooled_session
from chassis.config import MAX_CLOCK_DIFFERENCE_SECONDS
from chassis.errors import Unauthenticated, Unavailable
from chassis.schema import LARGEST_ID

REQUIRED = ("iss", "aud", "sub", "type", "jti", "iat", "exp", "scope")
REQUIRED_OF_USERS = ("sid", "role")
CACHE_SECONDS = 60
CACHE_SIZE = 4096
LONGEST_TOKEN = 4096
TIMEOUT_SECONDS = (1.0, 2.0)  # to connect, to hear something


class KeySource(Protocol):
    """Where public keys come from."""

    def key(self, kid: str) -> Any | None:
        """Returns the public key of that id, or None; raises Unavailable if none can be had."""


class Standing(Protocol):
    """What is known of the sessions that tokens belong to."""

    def revokes(self, session_id: str, issued_at: int) -> bool:
        """Whether a token of the session, issued at that Unix second, no longer holds.

        Raises Unavailable where nobody can know.
        """

    def confirm(self, caller: Caller) -> None:
        """Raises Unauthenticated unless session and role of the current caller still stand."""

    def check(self) -> None:
        """Raises Unavailable if what is known is old."""


class RemoteKeys:
    """The public keys another service publishes, kept while that service is down.

    An unknown `kid` asks again, at most once in `patience` seconds, so that strangers
    can't make this service hammer the other one.
    """

    def __init__(self, jwks_url: str, *, max_age: float = 300, patience: float = 5) -> None:
        self.jwks_url = jwks_url
        self.max_age = max_age
        self.patience = patience
        self.session = pooled_session()
        self.keys: dict[str, Any] = {}
        self.fetched = self.tried = float("-inf")
        self.lock = Lock()

    def key(self, kid: str) -> Any | None:
        """Returns the key, fetching the set when it is old or does not hold the id."""
        now = time.monotonic()
        if kid not in self.keys or now - self.fetched > self.max_age:
            self.refresh(now)
        if not self.keys:
            raise Unavailable("The keys to check tokens with can't be had right now.")
        return self.keys.get(kid)

    def refresh(self, now: float) -> None:
        with self.lock:
            if now - self.tried < (self.patience if self.keys else 0.5):
                return
            self.tried = now
            try:
                answer = self.session.get(
                    self.jwks_url, timeout=TIMEOUT_SECONDS, allow_redirects=False
                )
                if answer.status_code == 200:
                    self.keys = public_keys(answer.json())
                    self.fetched = now
            except (requests.RequestException, ValueError, jwt.PyJWTError):
                return


def public_keys(jwks: dict[str, Any]) -> dict[str, Any]:
    """Returns the ES256 keys of a JWKS document by `kid`."""
    return {key.key_id: key.key for key in jwt.PyJWKSet.from_dict(jwks).keys if key.key_id}


@dataclass(frozen=True, slots=True)
class Verified:
    """Whom a token names, the Unix second it was issued at, and until when that is believed."""

    caller: Caller
    issued_at: int
    until: float


@dataclass
class BearerAuthenticator:
    """Names the caller by the bearer credential of the current request.

    Raises Unauthenticated for one that is malformed, expired, of another kind, unknown, or a
    user's that no longer holds by `standing` (without it the app looks sessions up itself).
    """

    app: Flask
    audience: str
    issuer: str
    keys: KeySource
    standing: Standing | None = None
    token_types: tuple[str, ...] = ("access",)
    key_lookup: Callable[[str], Caller | None] | None = None
    key_known: Callable[[str], Caller | None] | None = None
    verified: dict[str, Verified] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.app.config.update(
            JWT_ALGORITHM="ES256",
            JWT_DECODE_ALGORITHMS=["ES256"],
            JWT_DECODE_AUDIENCE=self.audience,
            JWT_DECODE_ISSUER=self.issuer,
            JWT_DECODE_LEEWAY=MAX_CLOCK_DIFFERENCE_SECONDS,
        )
        manager = JWTManager(self.app)
        manager.decode_key_loader(self.decode_key)

    def __call__(self) -> Caller | None:
        credential = bearer_credential(request.headers.get("Authorization"))
        if credential is None:
            return None
        if self.key_lookup and credential.count(".") != 2:
            return self.key_holder(credential)
        return self.token_holder(credential)

    def known(self, header: str | None) -> Caller | None:
        """Returns the caller whom this header named moments ago; None asks for the whole way."""
        scheme, _, credential = (header or "").partition(" ")
        if scheme != "Bearer":
            return None
        if self.key_known and credential.count(".") != 2:
            return self.key_known(credential)
        found = self.verified.get(credential)
        if found is None or found.until <= time.time() or self.is_revoked(found):
            return None
        return found.caller

    def key_holder(self, credential: str) -> Caller:
        found = self.key_lookup(credential) if self.key_lookup else None
        if found is None:
            raise invalid_token("This API key is unknown, expired or deleted.")
        return found

    def token_holder(self, token: str) -> Caller:
        """Returns the caller a token names; a token once verified is believed for a minute."""
        known = self.verified.get(token)
        found = known if known and known.until > time.time() else self.verify(token)
        if self.is_revoked(found):
            raise invalid_token("The session has ended or its role has changed.")
        if found is not known:
            self.remember(token, found)
        return found.caller

    def verify(self, token: str) -> Verified:
        claims = self.claims(token)
        caller = self.caller_named(claims)
        ends = claims["exp"] + MAX_CLOCK_DIFFERENCE_SECONDS
        until = min(ends, time.time() + CACHE_SECONDS)
        return Verified(caller, int(claims["iat"]), until)

    def remember(self, token: str, found: Verified) -> None:
        if len(self.verified) >= CACHE_SIZE:
            self.verified.clear()
        self.verified[token] = found

    def is_revoked(self, found: Verified) -> bool:
        session_id = found.caller.session_id
        if self.standing is None or session_id is None:
            return False
        return self.standing.revokes(session_id, found.issued_at)

    def decode_key(self, header: dict[str, Any], payload: dict[str, Any]) -> Any:
        # The library reads a token without `type` as an access token.
        if "type" not in payload:
            raise invalid_token()
        kid = header.get("kid")
        key = self.keys.key(kid) if isinstance(kid, str) else None
        if key is None:
            raise invalid_token("The token is signed with an unknown key.")
        return key

    def claims(self, token: str) -> dict[str, Any]:
        if len(token) > LONGEST_TOKEN:
            raise invalid_token()
        try:
            claims: dict[str, Any] = decode_token(token)
        except jwt.ExpiredSignatureError:
            raise invalid_token("The token has expired.") from None
        except jwt.ImmatureSignatureError:
            raise invalid_token(
                "The token is dated ahead: the clocks here and at the users service differ by"
                f" more than {MAX_CLOCK_DIFFERENCE_SECONDS} s."
            ) from None
        except (jwt.PyJWTError, JWTExtendedException, ValueError, TypeError, KeyError):
            raise invalid_token() from None
        return claims

    def caller_named(self, claims: dict[str, Any]) -> Caller:
        kind = claims.get("type")
        if kind not in self.token_types or any(not claims.get(name) for name in REQUIRED):
            raise invalid_token()
        scopes = frozenset(str(claims["scope"]).split())
        if kind == "service":
            return Caller("service", str(claims["sub"]), scopes)
        if any(not isinstance(claims.get(name), str) for name in REQUIRED_OF_USERS):
            raise invalid_token()
        user_id = account_id(claims["sub"])
        return Caller("user", str(user_id), scopes, user_id, claims["role"], claims["sid"])


def account_id(subject: Any) -> int:
    """Returns the user id that a `sub` claim holds; raises Unauthenticated."""
    if not (isinstance(subject, str) and subject.isascii() and subject.isdigit()):
        raise invalid_token()
    if len(subject) > 19 or not 1 <= int(subject) <= LARGEST_ID:
        raise invalid_token()
    return int(subject)


def bearer_credential(header: str | None) -> str | None:
    """Returns what follows `Bearer`, in any case; None without a header."""
    if header is None:
        return None
    scheme, _, credential = header.strip().partition(" ")
    credential = credential.strip()
    if scheme.lower() != "bearer" or not credential or not credential.isascii():
        raise invalid_token("The Authorization header must be: Bearer <token>.")
    return credential


def invalid_token(detail: str = "The token is not valid here.") -> Unauthenticated:
    return Unauthenticated(detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
