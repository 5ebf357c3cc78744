"""Analytics as the relay sees it: what was taken, what was refused, what is in the way."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import Any

import requests
from flask import current_app

from chassis.client import pooled_session
from chassis.config import ConfigurationError, read
from chassis.telemetry import get_logger
from users_app import tokens
from users_app.keys import key_ring
from users_app.parts import parts

TIMEOUT = (1.0, 5.0)
ERASURE_TIMEOUT = (1.0, 20.0)
RENEW_AFTER_SECONDS = 240.0
# One that is refused by itself will be refused for ever; any other answer may pass.
UNACCEPTABLE = (400, 413, 422)
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why nothing can be delivered right now; `retry_after` is in seconds, 0 if not said."""

    reason: str
    retry_after: float = 0.0


class Troubled(Exception):
    """Analytics could not take this now."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.trouble = Trouble(reason, retry_after)


class Broken(Troubled):
    """Analytics failed over this: it may be this, or analytics."""


class Unacceptable(Exception):
    """Analytics refuses this as it is."""


class Receiver:
    """Calls analytics with a service token, which is renewed before and when it expires."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.session = pooled_session()
        self.token = ""
        self.minted = float("-inf")

    def take(self, events: list[dict[str, Any]]) -> dict[int, str]:
        """Delivers events; returns the refused ones: index to reason.

        Raises Unacceptable if the batch was refused as a whole, Broken if analytics failed
        over it, Troubled otherwise.
        """
        answer = self.call("POST", "/analytics/events/batch", {"events": events})
        try:
            results = answer.json().get("results", [])
            return {
                int(each["index"]): str(each.get("errors") or "rejected")[:500]
                for each in results
                if each["status"] == "rejected"
            }
        except (ValueError, AttributeError, KeyError, TypeError):
            raise Troubled("the answer to a batch could not be read") from None

    def erase(self, user_id: int) -> None:
        """Has the account's events erased; raises Unacceptable or Troubled.

        A 202 is as good as a 200: from then on no answer holds the events.
        """
        self.call("DELETE", f"/analytics/users/{user_id}/events", timeout=ERASURE_TIMEOUT)

    def is_healthy(self) -> bool:
        """Whether analytics says that it is ready."""
        try:
            return self.session.get(f"{self.base_url}/health", timeout=TIMEOUT).status_code == 200
        except requests.RequestException:
            return False

    def call(
        self,
        method: str,
        path: str,
        document: dict[str, Any] | None = None,
        timeout: tuple[float, float] = TIMEOUT,
    ) -> requests.Response:
        answer = self.send(method, path, document, timeout)
        if answer.status_code == 401:
            # The keys may have been rotated, or the token have aged: once more with a new one.
            self.minted = float("-inf")
            answer = self.send(method, path, document, timeout)
        if answer.status_code in UNACCEPTABLE:
            raise Unacceptable(answer.text[:500])
        if not 200 <= answer.status_code < 300:
            kind = Broken if answer.status_code == 500 else Troubled
            raise kind(f"HTTP {answer.status_code}", retry_after(answer))
        return answer

    def send(
        self,
        method: str,
        path: str,
        document: dict[str, Any] | None,
        timeout: tuple[float, float],
    ) -> requests.Response:
        try:
            return self.session.request(
                method,
                self.base_url + path,
                json=document,
                headers={"Authorization": f"Bearer {self.fresh_token()}"},
                timeout=timeout,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise Troubled(type(error).__name__) from None

    def fresh_token(self) -> str:
        if time.monotonic() - self.minted > RENEW_AFTER_SECONDS:
            reload_keys()
            self.token, self.minted = tokens.service_token(), time.monotonic()
        return self.token


def reload_keys() -> None:
    """Signs with the key file as it is now: a rotation needs no restart of the relay."""
    try:
        pem = read("JWT_PRIVATE_KEY", os.environ)
        keys = key_ring(pem) if pem else parts().keys
    except (ConfigurationError, ValueError) as error:
        log.error("the key file can't be read; signing with the former key", error=str(error))
        return
    current_app.extensions["users"] = replace(parts(), keys=keys)


def retry_after(answer: requests.Response) -> float:
    """Returns the seconds that the answer asks for, at most five minutes."""
    text = answer.headers.get("Retry-After", "")
    return float(min(int(text), 300)) if text.isascii() and text.isdigit() else 0.0
