"""Asks whether what images install, and `make run`, has known vulnerabilities; ends with 1 if so.

    python -m ops.audit [--must]

pip-audit and npm ask advisory services over the network. What can't be asked is said to be
skipped and passes, or fails with --must. Debian's packages in the base image want a scanner of
images.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ops.fetch import Unavailable, npm, run
from ops.inventory import IMAGES, LOCK, ROOT, base_image

LOCKS = (LOCK, ROOT / "requirements.txt")
PROBE = "flask==3.1.3"


def main() -> int:
    verdicts = [python_packages(), browser_libraries()]
    print(f"Not audited: what Debian has in {':'.join(base_image())}: scan the built images.")
    must = "--must" in sys.argv[1:]
    return 1 if False in verdicts or (must and None in verdicts) else 0


def python_packages() -> bool | None:
    """Returns whether the locks hold nothing vulnerable; None where nobody can be asked."""
    if not reachable():
        print("Skipped: pip-audit's advisory service can't be reached: no Python package audited.")
        return None
    found = audited(*LOCKS, words=("--require-hashes",))
    bad = [each for each in found if each.get("vulns")]
    skipped = [each["name"] for each in found if "skip_reason" in each]
    for each in bad:
        for hole in each["vulns"]:
            fixed = ", ".join(hole["fix_versions"]) or "no release yet"
            print(f"{each['name']} {each['version']}: {hole['id']}, fixed in {fixed}")
    if skipped:
        print(f"pip-audit: not audited: {', '.join(skipped)}")
    print(f"pip-audit: {len(found) - len(skipped)} packages audited, {len(bad)} vulnerable.")
    return bool(found) and not bad


def reachable() -> bool:
    """Whether the advisory service knows one package that it must know."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(f"{PROBE}\n")
        file.flush()
        found = audited(Path(file.name), words=("--no-deps",))
    return bool(found) and "skip_reason" not in found[0]


def audited(*requirements: Path, words: tuple[str, ...]) -> list[dict[str, Any]]:
    """Returns what pip-audit says of each package; nothing when it could not ask."""
    files = [word for each in requirements for word in ("-r", str(each))]
    command = [
        sys.executable, "-m", "pip_audit", *files, "--disable-pip", *words,
        "--format", "json", "--progress-spinner", "off", "--timeout", "5",
    ]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return []
    return found


def browser_libraries() -> bool | None:
    """Returns whether the browser libraries are not vulnerable; None where nobody can be asked."""
    libraries = [library for each in IMAGES.values() for library in each]
    wanted = {library.package: library.version for library in libraries}
    try:
        found = advisories(wanted)
    except Unavailable:
        print("Skipped: npm's advisory service can't be reached: no browser library audited.")
        return None
    for name, about in found.items():
        print(f"{name}: {about.get('severity', 'unknown')} severity, versions {about.get('range')}")
    print(f"npm audit: {len(wanted)} browser libraries audited, {len(found)} vulnerable.")
    return not found


def advisories(wanted: dict[str, str]) -> dict[str, Any]:
    """Returns npm's findings by package; raises Unavailable when it could not ask."""
    with tempfile.TemporaryDirectory() as folder:
        project = {"name": "footfall", "version": "0.0.0", "dependencies": wanted}
        (Path(folder) / "package.json").write_text(json.dumps(project))
        quiet = ("--ignore-scripts", "--no-fund", "--silent")
        run(*npm(), "install", "--package-lock-only", "--no-audit", *quiet, cwd=Path(folder))
        # It ends with 1 where it finds something, as where it can't ask.
        asked = subprocess.run(
            [*npm(), "audit", "--json"], cwd=folder, check=False, capture_output=True, text=True
        )
    try:
        found: dict[str, Any] = json.loads(asked.stdout)["vulnerabilities"]
    except (ValueError, KeyError):
        raise Unavailable("npm's audit gave no findings") from None
    return found


if __name__ == "__main__":
    sys.exit(main())
