"""Gets what the tests need beyond Python: Chromium and its driver from Debian, where it may.

    python -m ops.test_setup

Where it may not install them (no apt, or neither root nor password-less sudo) it says so, and
the browser tests skip by name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("chromium", "chromium-driver", "fonts-inter")


def main() -> int:
    browser_libraries()
    if shutil.which("chromium") and shutil.which("chromedriver"):
        return 0
    if not (become_root := how_to_become_root()):
        print("Chromium is missing and can't be installed here: browser tests will be skipped.")
        return 0
    print("Installing Chromium for the browser tests …", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(
            [*become_root, "apt-get", *words], env=quiet, check=False, capture_output=True
        )
        if done.returncode:
            print("apt-get", words[0], "failed: browser tests will be skipped.")
            return 0
    return 0


def browser_libraries() -> None:
    command = [sys.executable, "-m", "ops.browser_libraries", "--with-tests"]
    subprocess.run(command, cwd=ROOT, check=False)


def how_to_become_root() -> list[str] | None:
    """Returns the words that run apt-get as root here; None where nothing does."""
    if not shutil.which("apt-get"):
        return None
    if os.geteuid() == 0:
        return ["env"]
    if shutil.which("sudo"):
        allowed = subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True)
        return ["sudo", "-n"] if allowed.returncode == 0 else None
    return None


if __name__ == "__main__":
    sys.exit(main())
