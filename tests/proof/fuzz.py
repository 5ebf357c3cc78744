"""Schemathesis over both documents, as each role, against the running platform.

    python -m tests.proof.fuzz [--examples 100] [--seed 1] [--roles viewer,admin]

Every check is on but for those that schemathesis.toml names with their reasons.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.proof.people import UNLIMITED, People
from tests.servers import PostgresServer
from tests.stack import BIN, ROOT, Stack

HERE = Path(__file__).parent
# An admin comes last: it may delete or demote the others.
ROLES = ("stranger", "viewer", "analyst", "key", "admin")
PROBES = {"users": "/users/me", "analytics": "/analytics/summary"}


@dataclass(frozen=True)
class Effort:
    """How much is tried for each operation, and in which phases."""

    examples: int
    seed: int
    phases: str = "examples,coverage,fuzzing,stateful"


def fuzzed(url: str, headers: dict[str, str], effort: Effort) -> subprocess.CompletedProcess[str]:
    """Runs Schemathesis over one document to its end."""
    given = [word for pair in headers.items() for word in ("-H", ": ".join(pair))]
    command = [
        BIN / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run",
        f"{url}/openapi.json", "--phases", effort.phases, "-n", str(effort.examples),
        "--seed", str(effort.seed), *given,
    ]  # fmt: skip
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.proof.hooks",
    }
    return subprocess.run(
        command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True
    )


def findings(stack: Stack, people: People, role: str, effort: Effort) -> list[str]:
    """Returns what one role's runs over both services found, as texts."""
    found = []
    headers = people.signed_in(role)  # an admin may end the one who makes accounts
    for service, url in (("users", stack.users_url), ("analytics", stack.analytics_url)):
        done = fuzzed(url, headers, effort)
        if done.returncode:
            found.append(f"{service} as {role}:\n{shortened(done.stdout + done.stderr)}")
        elif role not in ("stranger", "admin") and not still_known(url, service, role, headers):
            found.append(f"{service} as {role}: the credential ended, so little was tried")
        found += [f"{service} logged: {line}" for line in bugs(stack)]
    return found


def shortened(report: str) -> str:
    """Returns the report from its first failure on, without the endless lines."""
    start = max(report.find("= FAILURES ="), 0)
    return "\n".join(line[:400] for line in report[start:].splitlines())


def still_known(url: str, service: str, role: str, headers: dict[str, str]) -> bool:
    """Whether the caller was not signed out by what it sent; a key is only analytics'."""
    if role == "key" and service == "users":
        return True
    return requests.get(url + PROBES[service], headers=headers, timeout=20).ok


def without_fast_path(stack: Stack) -> list[str]:
    """Returns a finding if analytics runs under another worker than the one with the fast path."""
    if "chassis.worker.LaneWorker" in stack.log("analytics"):
        return []
    return ["analytics runs without its fast path, which was not tried"]


def bugs(stack: Stack) -> list[str]:
    """Returns the log lines of errors that no handler knew."""
    return [
        line[:2000]
        for name in ("users", "analytics")
        for line in stack.log(name).splitlines()
        if "unhandled error" in line
    ]


def main() -> int:
    options = arguments()
    effort = Effort(options.examples, options.seed)
    found: list[str] = []
    with PostgresServer() as server:
        urls = {}
        for name in ("users", "analytics"):
            server.execute(f"CREATE DATABASE {name}")
            urls[f"{name}_database_url"] = server.url(name)
        with Stack(parts=("users", "analytics"), settings=UNLIMITED, **urls) as stack:  # type: ignore[arg-type]
            found += without_fast_path(stack)
            people = People(stack)
            for role in options.roles.split(","):
                fresh = findings(stack, people, role, effort)
                print(f"{role}: {len(fresh)} findings", flush=True)
                found += fresh
    print("\n\n".join(found))
    return 1 if found else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--roles", default=",".join(ROLES))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
