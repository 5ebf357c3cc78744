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

ARRIVING_SECONDS = 2.0
# Long enough for some hundreds of answers, of which the slowest hundredth is known well enough.
CALM_SECONDS = 10.0
AFTERWARDS_SECONDS = 2.0
PATIENCE_SECONDS = 60.0
TYPES_LISTED = 50
SLOWER_AT_MOST = 2.0
# What one busy moment of two cores that also run the crowd and all servers may add.
ALLOWANCE_SECONDS = 0.05


@dataclass
class Row:
    """What a fault did: one row of the table."""

    fault: Fault
    seen: str = ""
    well_after: float | None = None
    acknowledged: int = 0
    usual_p99: float | None = None
    p99: float | None = None
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
            return f"| {self.fault.words} | not tried: {self.skipped} | | | | {command} |"
        kinds = Counter(each.partition(":")[0] for each in self.complaints)
        verdict = ", ".join(f"**{kind} ×{count}**" for kind, count in kinds.items()) or "nothing"
        lost = f"{verdict}, of {self.acknowledged} acknowledged"
        well = "never" if self.well_after is None else f"{self.well_after:.1f} s"
        cells = (self.fault.words, self.seen, lost, self.others(), well, command)
        return f"| {' | '.join(cells)} |"

    def others(self) -> str:
        """Returns what all who don't need what was broken waited, usually and during it."""
        if self.usual_p99 is None or self.p99 is None:
            return "all need it" if self.fault.needed_by == faults.EVERYTHING else "?"
        return f"{1000 * self.usual_p99:.0f} → {1000 * self.p99:.0f} ms"


HEAD = (
    "| fault | what users saw | lost, doubled or misplaced | others' p99, usual → during "
    "| well again after | command |\n"
    "|---|---|---|---|---|---|"
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
    except (RuntimeError, TimeoutError, requests.RequestException) as trouble:
        row.complaints.append(f"not tried to its end: {trouble}")
    return row


@contextmanager
def prepared(platform: Platform, fault: Fault) -> Iterator[None]:
    """Puts in place what the fault needs, and takes it away again."""
    try:
        fault.set_up(platform)
        yield
    finally:
        fault.tear_down(platform)


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
        platform.mails_to,
    )


def run(platform: Platform, fault: Fault, place: Place, row: Row) -> None:
    crowd = Crowd(place, fault.joined_by(place))
    crowd.start()
    try:
        time.sleep(ARRIVING_SECONDS)
        arrived = time.monotonic()
        time.sleep(CALM_SECONDS)
        began = time.monotonic()
        try:
            fault.break_it(platform)
        finally:
            healed = time.monotonic()
            fault.mend(platform)
        wait_until("everything to be well", platform.is_well, PATIENCE_SECONDS, 0.1)
        well = time.monotonic()
        row.well_after = well - healed
        row.usual_p99 = place.history.p99(arrived, began, fault.needed_by)
        row.p99 = place.history.p99(began, well, fault.needed_by)
        time.sleep(AFTERWARDS_SECONDS)
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
        *checks.miscounted(stored, reported(platform, headers, stored)),
        *checks.misreported(history),
        *checks.unheard(history, stored, place.ids),
        *checks.remembered(history, stored, place.ids),
        *checks.forgotten(history, accounts(platform, headers)),
        *checks.shown_to_others(history),
        *checks.unannounced(history),
        *checks.throttled(history),
        *checks.mismailed(history, place.mails_to),
        *slowed(row),
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


def reported(
    platform: Platform, headers: dict[str, str], stored: list[dict[str, Any]]
) -> dict[str, int]:
    """Returns the count of each type that is stored, and of all, from the reports."""
    url = f"{platform.analytics_url}/analytics/events/by-type"
    total = requests.get(url, headers=headers, timeout=60).json()["total"]
    found = {}
    # By name: without names the rarer types are counted together.
    for names in faults.batched(sorted({each["event_type"] for each in stored}), TYPES_LISTED):
        answer = requests.get(url, headers=headers, params={"event_type": names}, timeout=60)
        found |= {each["event_type"]: each["count"] for each in answer.json()["items"]}
    if rest := total - sum(found.values()):
        found["of types that are not stored"] = rest
    return found


def slowed(row: Row) -> list[str]:
    """Complains if those who don't need what was broken waited longer than they may."""
    if not row.fault.bounded or row.usual_p99 is None or row.p99 is None:
        return []
    if row.p99 <= SLOWER_AT_MOST * row.usual_p99 + ALLOWANCE_SECONDS:
        return []
    return [f"slowed: others' p99 went {row.others()}"]


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
