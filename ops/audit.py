"""Asks whether what requirements.txt locks has known vulnerabilities; ends with 1 if so.

    python -m ops.audit [--must]

pip-audit asks an advisory service over the network. Where that can't be reached nothing can be
audited: this says that it is skipped and passes, or fails with --must.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.txt"
PROBE = "flask==3.1.3"


def main() -> int:
    if not reachable():
        print("Skipped: pip-audit's advisory service can't be reached, so nothing was audited.")
        return 1 if "--must" in sys.argv[1:] else 0
    found = audited(LOCK, "--require-hashes")
    bad = [each for each in found if each.get("vulns")]
    skipped = [each["name"] for each in found if "skip_reason" in each]
    for each in bad:
        for hole in each["vulns"]:
            fixed = ", ".join(hole["fix_versions"]) or "no release yet"
            print(f"{each['name']} {each['version']}: {hole['id']}, fixed in {fixed}")
    if skipped:
        print(f"pip-audit: not audited: {', '.join(skipped)}")
    print(f"pip-audit: {len(found) - len(skipped)} packages audited, {len(bad)} vulnerable.")
    return 1 if bad else 0


def reachable() -> bool:
    """Whether the advisory service knows one package that it must know."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(f"{PROBE}\n")
        file.flush()
        found = audited(Path(file.name), "--no-deps")
    return bool(found) and "skip_reason" not in found[0]


def audited(requirements: Path, *words: str) -> list[dict[str, Any]]:
    """Returns what pip-audit says of each package; nothing when it could not ask."""
    command = [
        sys.executable, "-m", "pip_audit", "-r", str(requirements), "--disable-pip", *words,
        "--format", "json", "--progress-spinner", "off", "--timeout", "5",
    ]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return []
    return found


if __name__ == "__main__":
    sys.exit(main())
