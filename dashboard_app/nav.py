"""The pages that the sidebar and the tabs offer; one line here adds one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Flask, request, url_for

from chassis.auth import optional_caller


@dataclass(frozen=True, slots=True)
class Entry:
    """A page: its endpoint, its name, its icon, and the scope without which it is not shown."""

    endpoint: str
    label: str
    icon: str
    scope: str = "reports:read"
    admin: bool = False
    without: str = ""

    @property
    def path(self) -> str:
        """The page's address; one's own timeline needs one's own id."""
        caller = optional_caller()
        if self.endpoint == "timeline.page" and caller:
            return url_for(self.endpoint, user_id=caller.user_id)
        return url_for(self.endpoint)

    @property
    def is_current(self) -> bool:
        """Whether the request is for this page or something below it."""
        return (request.blueprint or "") == self.endpoint.split(".")[0]


ENTRIES = (
    Entry("overview.page", "Overview", "overview"),
    Entry("events.page", "Events", "events", scope="events:read"),
    Entry("timeline.page", "My events", "events", without="events:read"),
    Entry("live.page", "Live", "live"),
    Entry("funnels.page", "Funnels", "funnel"),
    Entry("retention.page", "Retention", "retention"),
    Entry("paths.page", "Paths", "paths"),
    Entry("properties.page", "Properties", "properties"),
    Entry("saved_reports.page", "Saved reports", "saved"),
    Entry("annotations.page", "Notes", "note"),
    Entry("accounts.page", "Accounts", "accounts", scope="accounts:manage", admin=True),
    Entry("invites.page", "Invites", "invites", scope="accounts:manage", admin=True),
    Entry("api_keys.page", "API keys", "key", scope="keys:manage", admin=True),
    Entry("audit.page", "Audit", "audit", scope="accounts:manage", admin=True),
    Entry("settings.page", "Settings", "settings"),
)
TABS = 4


def install(app: Flask) -> None:
    """Gives every template `nav()` and `may(scope)`."""
    app.jinja_env.globals.update(nav=nav, may=may)


def nav() -> dict[str, Any]:
    """Returns the entries that the caller may use: main, admin, and the phone's tabs."""
    shown = [entry for entry in ENTRIES if is_shown(entry)]
    return {
        "main": [entry for entry in shown if not entry.admin],
        "admin": [entry for entry in shown if entry.admin],
        "tabs": [entry for entry in shown if not entry.admin][:TABS],
    }


def may(scope: str) -> bool:
    """Whether the caller holds the scope."""
    caller = optional_caller()
    return caller is not None and caller.may(scope)


def is_shown(entry: Entry) -> bool:
    return may(entry.scope) and not (entry.without and may(entry.without))
