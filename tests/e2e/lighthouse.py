"""Runs Lighthouse (desktop) on every page, over the demo's events, and prints its figures.

    python -m tests.e2e.lighthouse [name ...]

It comes from npm. Exits with 1 when accessibility or best practices of a page is under 100;
performance swings with the machine and is only told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ops.fetch import Unavailable, npm
from tests.e2e.browser import Browser, browser_for
from tests.e2e.pages import VIEWS, View
from tests.e2e.screenshots import load_demo
from tests.stack import Stack

LIGHTHOUSE = "lighthouse@13.5.0"
GATED = ("accessibility", "best-practices")
CATEGORIES = (*GATED, "performance")
SECONDS = 180


def main() -> int:
    try:
        npx = npm("npx")
    except Unavailable as error:
        print(f"footfall: Lighthouse needs npm: {error}", file=sys.stderr)
        return 2
    wanted = sys.argv[1:]
    pages = {view.path: view for view in VIEWS if view.name in (wanted or PAGES)}
    passed = True
    with Stack() as stack, tempfile.TemporaryDirectory() as folder:
        load_demo(stack, Path(folder))
        print("| page | accessibility | best practices | performance |\n|---|---|---|---|")
        for view, scores in scored(npx, stack, list(pages.values()), Path(folder)):
            print(f"| {view.name} | " + " | ".join(map(shown, scores.values())) + " |", flush=True)
            passed &= all(scores[name] == 1 for name in GATED)
    return 0 if passed else 1


def scored(
    npx: list[str], stack: Stack, views: list[View], folder: Path
) -> Iterator[tuple[View, dict[str, float | None]]]:
    """Yields each view with its scores from 0 to 1, by category; None where there is none."""
    for who in dict.fromkeys(view.who for view in views):
        with browser_for(stack.dashboard_url, who) as browser:
            for view in views:
                if view.who == who:
                    report = run(npx, browser, view, folder / f"{view.name}.json")
                    tell_failures(report)
                    yield view, {name: report["categories"][name]["score"] for name in CATEGORIES}


def run(npx: list[str], browser: Browser, view: View, target: Path) -> dict[str, Any]:
    """Returns Lighthouse's report, made in the browser that is signed in."""
    port = browser.driver.capabilities["goog:chromeOptions"]["debuggerAddress"].split(":")[1]
    command = [
        *npx, "--yes", LIGHTHOUSE, browser.base + view.path, f"--port={port}", "--preset=desktop",
        f"--only-categories={','.join(CATEGORIES)}", "--disable-storage-reset", "--quiet",
        "--output=json", f"--output-path={target}",
    ]  # fmt: skip
    quiet = {**os.environ, "npm_config_loglevel": "error"}
    subprocess.run(command, env=quiet, check=True, timeout=SECONDS)
    report: dict[str, Any] = json.loads(target.read_text())
    if "runtimeError" in report:
        raise RuntimeError(f"{view.path}: {report['runtimeError']['message']}")
    return report


def tell_failures(report: dict[str, Any]) -> None:
    """Prints each audit of a gated category that is not whole."""
    for category in GATED:
        for reference in report["categories"][category]["auditRefs"]:
            audit = report["audits"][reference["id"]]
            if reference["weight"] and audit["score"] not in (None, 1):
                print(f"{report['finalDisplayedUrl']}: {audit['title']}", file=sys.stderr)


def shown(score: float | None) -> str:
    return "none" if score is None else f"{score * 100:.0f}"


PAGES = (
    "login", "register", "password-reset", "overview", "events", "timeline", "live",
    "funnels", "retention", "paths", "properties", "breakdown", "saved-reports", "notes",
    "accounts", "account", "invites", "api-keys", "audit", "settings",
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
