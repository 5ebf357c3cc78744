"""Every page and state that is looked at: for pictures and for accessibility."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.e2e.browser import Browser

Act = Callable[[Browser], None]


@dataclass(frozen=True, slots=True)
class View:
    """A page, who looks at it (None: a stranger), and what is done there first."""

    name: str
    path: str
    act: Act | None = None
    who: str | None = "ada"


def opened(selector: str) -> Act:
    return lambda browser: browser.script(f"document.querySelector('{selector}').open = true")


def wrong_password(browser: Browser) -> None:
    browser.fill(username="ada", password="not this one")
    browser.press("Sign in")


def made_key(browser: Browser) -> None:
    browser.fill(name="Web shop")
    browser.press("Make the key")
    browser.one("#new-key")


def made_invite(browser: Browser) -> None:
    browser.press("Make the invite")
    browser.one("#invite-link")


def shortcuts(browser: Browser) -> None:
    browser.script("document.getElementById('shortcuts').showModal()")


def first_metadata(browser: Browser) -> None:
    browser.script("document.querySelectorAll('.metadata')[2].open = true")


FUNNEL = "/funnels?step1=user_registered&step2=page_view&step3=search&step4=feature_used"
VIEWS = (
    View("login", "/login", who=None),
    View("login-refused", "/login", wrong_password, who=None),
    View("register", "/register", who=None),
    View("password-reset", "/password-reset", who=None),
    View("not-found", "/nowhere", who=None),
    View("overview", "/"),
    View("overview-90-days", "/?range=90d&metric=events"),
    View("overview-today", "/?range=today&metric=events&compare=0"),
    View("overview-filtered", "/?event_type=search&tz=Asia/Kathmandu"),
    View("overview-empty", "/?from=2020-01-01&to=2020-01-31"),
    View("overview-range", "/", opened("#range")),
    View("overview-table", "/", opened("#trend .table-behind")),
    View("overview-shortcuts", "/", shortcuts),
    View("events", "/events"),
    View("events-filtered", "/events?event_type=search&metadata.plan=free", first_metadata),
    View("events-empty", "/events?event_type=nothing_like_this"),
    View("timeline", "/users/100752"),
    View("live", "/live"),
    View("funnels", FUNNEL),
    View("funnels-stopped", FUNNEL + "&by=country&stopped=3"),
    View("funnels-blank", "/funnels"),
    View("retention", "/retention?range=90d"),
    View("retention-empty", "/retention?from=2020-01-01&to=2020-01-31"),
    View("paths", "/paths?levels=2"),
    View("properties", "/properties"),
    View("breakdown", "/properties?of=search&key=term&measure=results"),
    View("saved-reports", "/saved-reports"),
    View("notes", "/annotations"),
    View("accounts", "/accounts"),
    View("account", "/accounts/2"),
    View("invites", "/invites", made_invite),
    View("api-keys", "/api-keys", made_key),
    View("audit", "/audit"),
    View("settings", "/settings"),
)
