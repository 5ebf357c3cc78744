"""Takes a picture of every page, in both themes and on a phone, over the demo's events.

    python -m tests.e2e.screenshots [name ...]

They go to var/screenshots/<name>-<width>-<theme>.png.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.e2e.browser import Browser, browser_for
from tests.e2e.pages import VIEWS, View
from tests.stack import ROOT, Stack, must

TARGET = ROOT / "var" / "screenshots"
LOOKS = ((1440, "light"), (1440, "dark"), (390, "light"), (390, "dark"))
PASSWORD = "correct horse battery"
TALLEST = 4000


def main() -> int:
    wanted = sys.argv[1:]
    views = [view for view in VIEWS if not wanted or view.name in wanted]
    TARGET.mkdir(parents=True, exist_ok=True)
    with Stack() as stack, tempfile.TemporaryDirectory() as folder:
        load_demo(stack, Path(folder))
        for who in dict.fromkeys(view.who for view in views):
            take_all(stack, [view for view in views if view.who == who], who)
    print(f"{len(views) * len(LOOKS)} pictures in {TARGET}")
    return 0


def load_demo(stack: Stack, home: Path) -> None:
    """Loads the demo's admin and events, and some accounts to look at."""
    (home / "secrets").mkdir()
    (home / "secrets" / "demo_password").write_text(PASSWORD)
    addresses = {"USERS_URL": stack.users_url, "ANALYTICS_URL": stack.analytics_url}
    subprocess.run(
        [sys.executable, ROOT / "ops" / "demo.py", "--home", home],
        env={**os.environ, **addresses}, check=True,
    )  # fmt: skip
    for name in ("Grace Hopper", "Katherine Johnson", "Margaret Hamilton", "Hedy Lamarr"):
        account = {
            "email": f"{name.split()[0].lower()}@demo.example",
            "username": name.split()[0].lower(),
            "full_name": name,
            "password": PASSWORD,
        }
        must("POST", f"{stack.users_url}/users", json=account)


def take_all(stack: Stack, views: list[View], who: str | None) -> None:
    with browser_for(stack.dashboard_url, who) as browser:
        for width, theme in LOOKS:
            browser.prefer(theme, "reduce")
            for view in views:
                take(browser, view, width, theme)


def take(browser: Browser, view: View, width: int, theme: str) -> None:
    browser.resize(width, 900 if width > 800 else 844)
    browser.visit(view.path)
    browser.until_settled()
    if view.act:
        view.act(browser)
        browser.until_settled()
    height = browser.script("return document.documentElement.scrollHeight")
    browser.resize(width, min(height, TALLEST))
    browser.until_settled()
    picture = browser.command("Page.captureScreenshot", format="png")
    path = TARGET / f"{view.name}-{width}-{theme}.png"
    path.write_bytes(base64.b64decode(picture["data"]))


if __name__ == "__main__":
    sys.exit(main())
