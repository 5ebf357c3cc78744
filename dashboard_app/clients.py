"""The two services as the dashboard calls them: one class each, one method an endpoint.

Every method may raise Refused (4xx) and Unavailable; those for a signed-in user also raise
Unauthenticated once the session has ended.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import requests
from flask import Flask, current_app, request

from chassis.client import ApiClient, Refused
from chassis.client_address import forwarded_headers
from chassis.errors import Unauthenticated, Unavailable
from chassis.limits import request_address
from dashboard_app import session
from dashboard_app.config import DashboardSettings

Json = dict[str, Any]
LONGEST_PROGRAM = 300
Params = list[tuple[str, str]] | dict[str, Any] | None


def install(app: Flask, settings: DashboardSettings) -> None:
    """Opens one pooled client a service."""
    secret = settings.client_address_secret.get_secret_value()
    app.extensions["users"] = UsersClient(ApiClient(settings.users_url, "users"), secret)
    app.extensions["analytics"] = AnalyticsClient(
        ApiClient(settings.analytics_url, "analytics"), secret
    )


def users() -> UsersClient:
    """Returns the users service's client."""
    client: UsersClient = current_app.extensions["users"]
    return client


def analytics() -> AnalyticsClient:
    """Returns the analytics service's client."""
    client: AnalyticsClient = current_app.extensions["analytics"]
    return client


class ServiceClient:
    """Calls one service, for a stranger or with the session's token."""

    def __init__(self, api: ApiClient, secret: str) -> None:
        self.api = api
        self.secret = secret

    def send(
        self, method: str, path: str, headers: dict[str, str] | None = None, **given: Any
    ) -> requests.Response:
        """Calls and passes on which browser asks, with the proof that we may say so."""
        headers = {**(headers or {}), **forwarded_headers(request_address(), self.secret)}
        headers["User-Agent"] = program(request.headers.get("User-Agent", ""))
        return self.api.call(method, path, headers=headers, **given)

    def as_user(self, method: str, path: str, **given: Any) -> requests.Response:
        """Calls with the session's token; one that the service refuses is renewed once."""
        token = session.access_token()
        try:
            return self.send(method, path, token=token, **given)
        except Refused as refused:
            if refused.status != 401:
                raise
        return self.again(method, path, **given)

    def again(self, method: str, path: str, **given: Any) -> requests.Response:
        spent = session.current()
        if spent is None:
            raise Unauthenticated(session.SIGNED_OUT)
        try:
            fresh = session.renewed(spent)
            return self.send(method, path, token=fresh.access, **given)
        except Refused as refused:
            if refused.status == 401:
                # Not the session's end, which the users service would have told: a new sign-in
                # would get no better token, and each page would ask for one.
                raise Unavailable(f"A service refuses a new token: {refused}") from None
            raise

    def get(self, path: str, params: Params = None, **given: Any) -> Any:
        """Returns the JSON of a GET as the signed-in user."""
        return document(self.as_user("GET", path, params=params, **given))

    def change(self, method: str, path: str, body: Json | None = None) -> Any:
        """Sends a change as the signed-in user and returns the answer's JSON, if any."""
        answer = self.as_user(method, path, json=body)
        return document(answer) if answer.content else None


def program(user_agent: str) -> str:
    """Returns what a browser calls itself, as far as a header of ours can say it.

    The HTTP library refuses to send other text, which would count as the service's failure.
    """
    return re.sub(r"[^ -~]", "", user_agent).strip()[:LONGEST_PROGRAM]


def document(answer: requests.Response) -> Any:
    """Returns the JSON of an answer; raises Unavailable for anything else."""
    try:
        return answer.json()
    except ValueError:
        raise Unavailable("A service gave an answer that can't be read.") from None


class UsersClient(ServiceClient):
    """Accounts, sessions, invites and the audit trail."""

    def login(self, username: str, password: str) -> Json:
        return self.stranger("POST", "/login", {"username": username, "password": password})

    def register(self, account: Json, key: str | None) -> Json:
        """Makes an account; the same again under the same key is answered as the first."""
        headers = {"Idempotency-Key": key} if key else {}
        return self.stranger("POST", "/users", account, **headers)

    def request_reset(self, email: str) -> None:
        self.send("POST", "/password-reset", json={"email": email})

    def confirm_reset(self, token: str, new_password: str) -> None:
        body = {"token": token, "new_password": new_password}
        self.send("POST", "/password-reset/confirm", json=body)

    def refresh(self, refresh_token: str) -> tuple[Json, Json]:
        """Returns a new token answer and the account that it is for."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        answer: Json = document(self.send("POST", "/token", data=form))
        account = self.send("GET", "/users/me", token=answer["access_token"])
        return answer, document(account)

    def logout(self, *, everywhere: bool = False) -> None:
        self.change("POST", "/logout", {"everywhere": True} if everywhere else {})

    def me(self) -> Json:
        answer: Json = self.get("/users/me")
        return answer

    def change_me(self, changes: Json) -> Json:
        answer: Json = self.change("PATCH", "/users/me", changes)
        return answer

    def delete_me(self, current_password: str) -> None:
        self.change("DELETE", "/users/me", {"current_password": current_password})

    def change_password(self, current_password: str, new_password: str) -> None:
        body = {"current_password": current_password, "new_password": new_password}
        self.change("PUT", "/users/me/password", body)

    def sessions(self) -> list[Json]:
        """Returns where one is signed in, the latest used first."""
        items: list[Json] = self.get("/users/me/sessions", {"limit": "500"})["items"]
        return sorted(items, key=lambda each: each["last_used_at"], reverse=True)

    def end_session(self, session_id: str) -> None:
        self.change("DELETE", f"/users/me/sessions/{session_id}")

    def export(self) -> requests.Response:
        return self.as_user("GET", "/users/me/export", stream=True, timeout=(1.0, 30.0))

    def accounts(self, params: Params) -> Json:
        answer: Json = self.get("/users", params)
        return answer

    def usernames(self, ids: set[int]) -> dict[int, str]:
        """Returns the names of those of up to 100 accounts that still exist."""
        if not ids:
            return {}
        wanted = [("id", str(each)) for each in sorted(ids)]
        items = self.accounts([*wanted, ("limit", "100"), ("fields", "id,username")])["items"]
        return {each["id"]: each["username"] for each in items}

    def account(self, user_id: int) -> Json:
        answer: Json = self.get(f"/users/{user_id}")
        return answer

    def change_account(self, user_id: int, changes: Json) -> Json:
        answer: Json = self.change("PATCH", f"/users/{user_id}", changes)
        return answer

    def delete_account(self, user_id: int) -> None:
        self.change("DELETE", f"/users/{user_id}")

    def invites(self, params: Params = None) -> Json:
        answer: Json = self.get("/invites", params)
        return answer

    def invite(self, body: Json) -> Json:
        answer: Json = self.change("POST", "/invites", body)
        return answer

    def withdraw_invite(self, invite_id: int) -> None:
        self.change("DELETE", f"/invites/{invite_id}")

    def audit(self, params: Params) -> Json:
        answer: Json = self.get("/audit", params)
        return answer

    def stranger(self, method: str, path: str, body: Json, **headers: str) -> Json:
        answer: Json = document(self.send(method, path, headers=headers, json=body))
        return answer

    def check(self) -> None:
        """Raises if the service does not answer."""
        self.api.call("GET", "/health/live", timeout=(0.5, 1.0))


class AnalyticsClient(ServiceClient):
    """Events, reports and API keys."""

    def summary(self, params: Params) -> Json:
        answer: Json = self.get("/analytics/summary", params)
        return answer

    def timeseries(self, params: Params) -> list[Json]:
        items: list[Json] = self.get("/analytics/timeseries", params)["items"]
        return items

    def live(self) -> Json:
        answer: Json = self.get("/analytics/live")
        return answer

    def by_type(self, params: Params) -> Json:
        answer: Json = self.get("/analytics/events/by-type", params)
        return answer

    def events(self, params: Params) -> Json:
        answer: Json = self.get("/analytics/events", params)
        return answer

    def all_events(self, params: list[tuple[str, str]]) -> Iterator[list[Json]]:
        """Yields page after page of everything that matches."""
        cursor: list[tuple[str, str]] = []
        while True:
            answer = self.events([*params, *cursor])
            yield answer["items"]
            if answer["next_cursor"] is None:
                return
            cursor = [("cursor", answer["next_cursor"])]

    def user_events(self, user_id: int, params: Params) -> Json:
        answer: Json = self.get(f"/analytics/users/{user_id}/events", params)
        return answer

    def export(self, params: Params) -> requests.Response:
        return self.as_user(
            "GET", "/analytics/export", params=params, stream=True, timeout=(1.0, 60.0)
        )

    def funnel(self, body: Json) -> Json:
        answer: Json = self.change("POST", "/analytics/funnel", body)
        return answer

    def funnel_dropped(self, body: Json) -> Json:
        answer: Json = self.change("POST", "/analytics/funnel/dropped", body)
        return answer

    def report(self, name: str, params: Params) -> Json:
        """Returns a behaviour report: retention, paths, properties or breakdown."""
        answer: Json = self.get(f"/analytics/{name}", params)
        return answer

    def saved_reports(self, params: Params) -> Json:
        answer: Json = self.get("/analytics/saved-reports", params)
        return answer

    def saved_report(self, report_id: int) -> Json:
        answer: Json = self.get(f"/analytics/saved-reports/{report_id}")
        return answer

    def save_report(self, body: Json) -> Json:
        answer: Json = self.change("POST", "/analytics/saved-reports", body)
        return answer

    def delete_saved_report(self, report_id: int) -> None:
        self.change("DELETE", f"/analytics/saved-reports/{report_id}")

    def annotations(self, params: Params) -> Json:
        answer: Json = self.get("/analytics/annotations", params)
        return answer

    def annotate(self, body: Json) -> Json:
        answer: Json = self.change("POST", "/analytics/annotations", body)
        return answer

    def delete_annotation(self, annotation_id: int) -> None:
        self.change("DELETE", f"/analytics/annotations/{annotation_id}")

    def api_keys(self, params: Params = None) -> Json:
        answer: Json = self.get("/analytics/api-keys", params)
        return answer

    def make_api_key(self, body: Json) -> Json:
        answer: Json = self.change("POST", "/analytics/api-keys", body)
        return answer

    def delete_api_key(self, key_id: int) -> None:
        self.change("DELETE", f"/analytics/api-keys/{key_id}")

    def audit(self, params: Params) -> Json:
        answer: Json = self.get("/analytics/audit", params)
        return answer

    def check(self) -> None:
        """Raises if the service does not answer."""
        self.api.call("GET", "/health/live", timeout=(0.5, 1.0))
