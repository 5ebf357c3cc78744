"""The judges: each returns complaints, none when nothing was lost, doubled or misplaced."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tests.chaos.history import History

Event = Mapping[str, Any]
SERVICE_EVENTS = {
    "register": "user_registered",
    "sign in": "user_logged_in",
    "rename": "user_updated",
}


def lost(history: History, stored: Iterable[Event]) -> list[str]:
    """Complains of each acknowledged event that is not stored."""
    there = {event["event_id"] for event in stored}
    return [
        f"lost: event {deed.what} of {deed.who} was acknowledged and is gone"
        for deed in history.of("event", "acknowledged")
        if deed.what not in there
    ]


def doubled(stored: Iterable[Event]) -> list[str]:
    """Complains of each event that is stored more than once."""
    times = Counter(event["event_id"] for event in stored)
    return [f"doubled: event {name} is stored {n} times" for name, n in times.items() if n > 1]


def miscounted(stored: Iterable[Event], reported: Mapping[str, int]) -> list[str]:
    """Complains where a report's count of a type, or of all, differs from the stored events."""
    raw = Counter(event["event_type"] for event in stored)
    return [
        f"miscounted: {name} is reported {reported.get(name, 0)} times and stored {raw[name]}"
        for name in sorted({*raw, *reported})
        if raw[name] != reported.get(name, 0)
    ]


def misreported(history: History) -> list[str]:
    """Complains of reports that left out what was acknowledged before, or made something up."""
    acknowledged, attempted = defaultdict(list), defaultdict(list)
    for deed in history.of("event", "acknowledged"):
        acknowledged[deed.who].append(deed.ended)
    for event_type, moment in history.attempts:
        attempted[event_type].append(moment)
    complaints = []
    for reading in history.readings:
        least = sum(moment < reading.began for moment in acknowledged[reading.event_type])
        most = sum(moment < reading.ended for moment in attempted[reading.event_type])
        if not least <= reading.count <= most:
            complaints.append(
                f"misreported: {reading.event_type} was {reading.count} in a report, "
                f"{least} were acknowledged before and {most} sent until then"
            )
    return complaints


def unheard(history: History, stored: Iterable[Event], ids: Mapping[str, int]) -> list[str]:
    """Complains where the users service's own events differ from what it acknowledged.

    Something unknown may have happened once for each try, so it widens the bounds. Of whom
    wanted to be deleted nothing needs to be there.
    """
    counts = Counter((event["user_id"], event["event_type"]) for event in stored)
    complaints = []
    for kind, event_type in SERVICE_EVENTS.items():
        sure = Counter(deed.who for deed in history.of(kind, "acknowledged"))
        perhaps = Counter(deed.who for deed in history.of(kind, "unknown"))
        for who in sure.keys() - leavers(history):
            found = counts[ids[who], event_type]
            if not sure[who] <= found <= sure[who] + perhaps[who]:
                complaints.append(
                    f"unheard: {event_type} of {who} is counted {found} times; {sure[who]} were "
                    f"acknowledged and {perhaps[who]} stayed unknown"
                )
    return complaints


def forgotten(history: History, accounts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Complains of acknowledged accounts and names that are not what is stored now."""
    complaints = [
        f"forgotten: the account {deed.who} was acknowledged and is gone"
        for deed in history.of("register", "acknowledged")
        if deed.who not in accounts and deed.who not in leavers(history)
    ]
    for who, possible in possible_names(history).items():
        found = accounts.get(who, {}).get("full_name")
        if found not in possible:
            complaints.append(f"forgotten: {who} is named {found!r}, not one of {possible}")
    return complaints


def leavers(history: History) -> set[str]:
    """Returns who wanted to be deleted, whether or not that was acknowledged."""
    return {deed.who for deed in history.of("delete")}


def possible_names(history: History) -> dict[str, set[str]]:
    """Returns for each renamed person the last acknowledged name and all unknown ones."""
    last = {deed.who: {deed.what} for deed in history.of("rename", "acknowledged")}
    for deed in history.of("rename", "unknown"):
        if deed.who in last:
            last[deed.who].add(deed.what)
    return last


def remembered(history: History, stored: Iterable[Event], ids: Mapping[str, int]) -> list[str]:
    """Complains of deleted accounts of which events are still there."""
    gone = {ids[deed.who] for deed in history.of("delete", "acknowledged")}
    return [
        f"remembered: {event['event_type']} of user {event['user_id']}, who was deleted"
        for event in stored
        if event["user_id"] in gone
    ]


def shown_to_others(history: History) -> list[str]:
    """Complains of what was shown to somebody it does not belong to."""
    return [f"shown to the wrong person: {each}" for each in history.foreign]


def unannounced(history: History) -> list[str]:
    """Complains of server errors other than 503, which the documents don't know."""
    return [
        f"unannounced: {each.service} answered {each.status}"
        for each in history.failures()
        if each.status not in (0, 503)
    ]


def mismailed(history: History, mails: Callable[[str], Sequence[tuple[str, str]]]) -> list[str]:
    """Complains of mails that never came, came twice, or whose link did not work."""
    complaints = []
    for address in {deed.what for deed in history.of("ask")}:
        asked = [deed.outcome for deed in history.of("ask") if deed.what == address]
        ids = [message_id for message_id, _ in mails(address)]
        if not asked.count("acknowledged") <= len(ids) <= len(asked):
            complaints.append(f"mismailed: {address} asked {len(asked)} times, got {len(ids)}")
        if len(set(ids)) != len(ids):
            complaints.append(f"mismailed: {address} got one Message-ID twice: {ids}")
    complaints += [
        f"mismailed: the link of a mail to {deed.who} did not work"
        for deed in history.of("reset", "refused")
    ]
    return complaints


def throttled(history: History) -> list[str]:
    """Complains of each 429: the crowd stays far below every limit."""
    return [
        f"throttled: {each.service} answered 429" for each in history.answers if each.status == 429
    ]
