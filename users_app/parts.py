"""What is made once for each app and used everywhere: settings, keys, hasher, client."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from flask import current_app

from chassis.client import ApiClient
from users_app.cached_body import CachedBody
from users_app.config import UsersSettings
from users_app.keys import KeyRing
from users_app.passwords import PasswordHasher


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one running users service."""

    settings: UsersSettings
    keys: KeyRing
    hasher: PasswordHasher
    analytics: ApiClient
    revoked: CachedBody = field(default_factory=CachedBody)


def parts() -> Parts:
    """Returns the parts of the current app."""
    found: Parts = current_app.extensions["users"]
    return found


def derived_key(settings: UsersSettings, purpose: str) -> bytes:
    """Returns a key of its own for each purpose, so that no digest serves two of them."""
    secret = settings.secret_key.get_secret_value().encode()
    return hmac.new(secret, f"footfall users {purpose}".encode(), hashlib.sha256).digest()


def keyed_digest(purpose: str, message: bytes) -> bytes:
    """Returns HMAC-SHA256 of the message under the purpose's key."""
    return hmac.new(derived_key(parts().settings, purpose), message, hashlib.sha256).digest()
