"""One fault tried: load, break, mend, wait until well, judge."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.chaos import checks, faults
from tests.chaos.actors import Crowd, Place
from tests.chaos.faults import Fault
from tests.chaos.history import History
from tests.chaos.platform import Platform
from tests.chaos.tools import Missing
from tests.servers import wait_until

CALM_SECONDS = 2.0
PATIENCE_SECONDS = 60.0


@dataclass
class Row:
    """What a fault did: one row of the table."""

    fault: Fault
    seen: str = ""
    well_after: float | None = None
    acknowledged: int = 0
    complaints: list[str] = field(default_factory=list)
    skipped: str = ""

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, doubled or misplaced (or the fault could not be tried)."""
        return not self.complaints

    def markdown(self) -> str:
        """Returns the row of the table."""
        command = f"`make chaos FAULT={self.fault.name}`"
        if self.skipped:
            return f"| {self.fault.words} | not tried: {self.skipped} | | | {command} |"
        kinds = Counter(each.partition(":")[0] for each in self.complaints)
        verdict = ", ".join(f"**{kind} ×{count}**" for kind, count in kinds.items()) or "nothing"
        lost = f"{verdict}, of {self.acknowledged} acknowledged"
        well = "never" if self.well_after is None else f"{self.well_after:.1f} s"
        return f"| {self.fault.words} | {self.seen} | {lost} | {well} | {command} |"


HEAD = (
    "| fault | what users saw | lost, doubled or misplaced | well again after | command |\n"
    "|---|---|---|---|---|"
)


def tried(platform: Platform, fault: Fault) -> Row:
    """Returns the row for one fault; leaves the platform well."""
    row = Row(fault)
    try:
        with prepared(platform, fault):
            place = place_for(platform, fault)
            run(platform, fault, place, row)
            judge(platform, fault, place, row)
    except Missing as reason:
        row.skipped = str(reason)
    return row


@contextmanager
def prepared(platform: Platform, fault: Fault) -> Iterator[None]:
    """Puts the release before in place for the migration, and takes it away again."""
    if fault.name != "migration":
        yield
        return
    faults.serve_the_release_before(platform)
    try:
        yield
    finally:
        faults.serve_the_present_release(platform)


def place_for(platform: Platform, fault: Fault) -> Place:
    label = fault.name.replace("+", "-plus-")
    return Place(
        platform.users_url,
        platform.analytics_url,
        platform.dashboard_url,
        # The release before may not know keys yet; an admin may do the same.
        platform.admin_token() if fault.name == "migration" else platform.new_key(),
        label,
        History(),
    )


def run(platform: Platform, fault: Fault, place: Place, row: Row) -> None:
    crowd = Crowd(place)
    crowd.start()
    try:
        time.sleep(CALM_SECONDS)
        try:
            fault.break_it(platform)
        finally:
            healed = time.monotonic()
            fault.mend(platform)
        wait_until("everything to be well", platform.is_well, PATIENCE_SECONDS, 0.1)
        row.well_after = time.monotonic() - healed
        time.sleep(CALM_SECONDS)
    except TimeoutError as trouble:
        row.complaints.append(f"not well: {trouble}")
    finally:
        crowd.go_home()
    row.seen = place.history.summary()


def judge(platform: Platform, fault: Fault, place: Place, row: Row) -> None:
    """Lets everything arrive, then holds what is stored against what was acknowledged."""
    history = place.history
    headers = deliver(platform, fault, row)
    stored = exported(platform, headers)
    ours = [each for each in stored if each["event_type"].startswith(place.type(""))]
    row.acknowledged = len([each for each in history.deeds if each.outcome == "acknowledged"])
    row.complaints += [
        *checks.lost(history, stored),
        *checks.doubled(stored),
        *checks.miscounted(stored, reported(platform, headers)),
        *checks.misreported(history),
        *checks.unheard(history, stored, place.ids),
        *checks.remembered(history, stored, place.ids),
        *checks.forgotten(history, accounts(platform, headers)),
        *checks.shown_to_others(history),
        *checks.unannounced(history),
    ]
    if not ours:
        row.complaints.append("vacuous: not one event of this run is stored")
    if fault.quiet and history.failures():
        row.complaints.append(f"disturbed: {history.summary()}")


def deliver(platform: Platform, fault: Fault, row: Row) -> dict[str, str]:
    """Waits until all is told; returns an admin's headers, whose sign-in is told too."""
    headers = platform.admin()
    try:
        fault.after(platform)
        faults.wait_for_the_outbox(platform)
    except TimeoutError as trouble:
        row.complaints.append(f"undelivered: {trouble}")
    if dead := platform.outbox("outbox_dead"):
        row.complaints.append(f"undelivered: {dead:.0f} messages were given up")
    return headers


def exported(platform: Platform, headers: dict[str, str]) -> list[dict[str, Any]]:
    """Returns every stored event."""
    url = f"{platform.analytics_url}/analytics/export"
    answer = requests.get(url, headers=headers, params={"format": "ndjson"}, timeout=60)
    answer.raise_for_status()
    return [json.loads(line) for line in answer.text.splitlines()]


def reported(platform: Platform, headers: dict[str, str]) -> dict[str, int]:
    """Returns the count of each event type, from the reports."""
    url = f"{platform.analytics_url}/analytics/events/by-type"
    answer = requests.get(url, headers=headers, timeout=60)
    return {each["event_type"]: each["count"] for each in answer.json()["items"]}


def accounts(platform: Platform, headers: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Returns every account by username."""
    found: dict[str, dict[str, Any]] = {}
    query: dict[str, str] = {"limit": "500"}
    while True:
        url = f"{platform.users_url}/users"
        page = requests.get(url, headers=headers, params=query, timeout=60).json()
        found |= {each["username"]: each for each in page["items"]}
        if not page["next_cursor"]:
            return found
        query["cursor"] = page["next_cursor"]
