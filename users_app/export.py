"""All that is held about one person, as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from tempfile import SpooledTemporaryFile
from threading import Lock
from typing import Any

from sqlalchemy import or_, select

from chassis.bearer import invalid_token
from chassis.client import Refused
from chassis.errors import TooManyRequests, Unavailable
from chassis.schema import rfc3339
from users_app import audit, clock, schemas, sessions
from users_app.accounts import find
from users_app.models import AuditEntry, Invite, Mail, OutboxMessage, Session, db
from users_app.parts import parts

PAGE = 500
KEPT_IN_MEMORY = 1024 * 1024
MAX_AT_ONCE = 2  # of one worker, so that threads are left for everything else

running: set[int] = set()
changing = Lock()


class Document(SpooledTemporaryFile[bytes]):
    """A file that takes one of the places for exports, and gives it back when it is closed.

    Raises TooManyRequests or Unavailable where none is free.
    """

    def __init__(self, user_id: int) -> None:
        super().__init__(KEPT_IN_MEMORY)
        self.as_of: str | None = None  # of the events, where they come from a replica
        self.place = ExitStack()
        take_place(user_id)
        self.place.callback(running.discard, user_id)

    def close(self) -> None:
        """Closes the file; the first time, its place is free again."""
        super().close()
        self.place.close()


def take_place(user_id: int) -> None:
    with changing:
        if user_id in running:
            said = "An export of your account is under way already: one at a time."
            raise TooManyRequests(said, retry_after=10)
        if len(running) >= MAX_AT_ONCE:
            raise Unavailable("Two exports are running already.", retry_after=10)
        running.add(user_id)


def export(user_id: int, access_token: str, has_gone: Callable[[], bool]) -> Document:
    """Returns the document, complete and rewound; raises Unavailable without analytics,
    and Unauthenticated where that no longer takes the token.

    The events are read with the person's own token, page by page, while the client waits: all
    of them are there before the first byte is answered, and memory stays flat.
    """
    document = Document(user_id)
    try:
        document.write(json.dumps(held_here(user_id))[:-1].encode())
        write_list(document, "audit", map(shown_entry, audit.entries_about(user_id)))
        write_list(document, "undelivered_events", map(shown_message, undelivered(user_id)))
        db.session.rollback()
        write_list(document, "events", events(document, user_id, access_token, has_gone))
        if document.as_of is not None:
            document.write(f', "as_of": {json.dumps(document.as_of)}'.encode())
        document.write(b"}")
    except BaseException:
        document.close()
        raise
    document.seek(0)
    return document


def held_here(user_id: int) -> dict[str, Any]:
    """Returns what this service keeps of the account, but for lists without end."""
    account = schemas.Account.model_validate(find.account(user_id))
    return {
        "exported_at": rfc3339(clock.now()),
        "account": account.model_dump(mode="json"),
        "sessions": [shown_session(each) for each in sessions.sessions_of(user_id)],
        "invites": [shown_invite(each) for each in invites_of(user_id)],
        "mails": [shown_mail(each) for each in mails_to(account.email)],
    }


def invites_of(user_id: int) -> Iterable[Invite]:
    mine = or_(Invite.created_by == user_id, Invite.used_by == user_id)
    return db.session.scalars(select(Invite).where(mine).order_by(Invite.id))


def mails_to(address: str) -> Iterable[Mail]:
    return db.session.scalars(select(Mail).where(Mail.recipient == address).order_by(Mail.id))


def shown_mail(mail: Mail) -> dict[str, Any]:
    return {"kind": mail.kind, "created_at": rfc3339(mail.created_at), "said": mail.last_error}


def undelivered(user_id: int) -> Iterable[OutboxMessage]:
    waiting = select(OutboxMessage).where(OutboxMessage.user_id == user_id)
    streamed = {"yield_per": audit.ROWS_AT_ONCE}
    return db.session.scalars(waiting.order_by(OutboxMessage.id), execution_options=streamed)


def shown_session(session: Session) -> dict[str, Any]:
    return {
        "id": session.id,
        "address": session.address,
        "user_agent": session.user_agent,
        "created_at": rfc3339(session.created_at),
        "last_used_at": rfc3339(session.last_used_at),
        "expires_at": rfc3339(session.expires_at),
    }


def shown_invite(invite: Invite) -> dict[str, Any]:
    return schemas.InviteAnswer.model_validate(invite).model_dump(mode="json")


def shown_entry(entry: AuditEntry) -> dict[str, Any]:
    """Returns the entry; where an admin acted is about the admin, and left out."""
    by_another = entry.actor_id not in (None, entry.account_id)
    return {
        "id": entry.id,
        "created_at": rfc3339(entry.created_at),
        "action": entry.action,
        "actor_id": entry.actor_id,
        "account_id": entry.account_id,
        "address": None if by_another else entry.address,
        "user_agent": None if by_another else entry.user_agent,
        "details": entry.details,
    }


def shown_message(message: OutboxMessage) -> dict[str, Any]:
    return {
        "event_id": str(message.event_id),
        "event_type": message.event_type,
        "user_id": message.user_id,
        "metadata": message.details,
        "created_at": rfc3339(message.created_at),
    }


def events(
    document: Document, user_id: int, access_token: str, has_gone: Callable[[], bool]
) -> Iterator[dict[str, Any]]:
    """Yields the person's events from analytics, newest first.

    Raises Unavailable or Unauthenticated.
    """
    cursor: str | None = None
    while True:
        if has_gone():
            raise Unavailable("Nobody waits for the export any more.", retry_after=1)
        page = events_page(user_id, access_token, cursor)
        document.as_of = document.as_of or page["as_of"]
        yield from page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def events_page(user_id: int, access_token: str, cursor: str | None) -> dict[str, Any]:
    asked = {"limit": str(PAGE), **({"cursor": cursor} if cursor else {})}
    path = f"/analytics/users/{user_id}/events"
    try:
        answer = parts().analytics.call("GET", path, token=access_token, params=asked)
        page: dict[str, Any] = answer.json()
        items, following = list(page["items"]), page["next_cursor"]
        return {"items": items, "next_cursor": following, "as_of": page.get("as_of")}
    except Refused as refusal:
        if refusal.status == 401:  # as after a change of role: one refresh mends it
            raise invalid_token("The token no longer holds at analytics: refresh it.") from None
        wait = refusal.headers.get("Retry-After", "")
        raise not_now(int(wait) if wait.isascii() and wait.isdigit() else 5) from None
    except (ValueError, KeyError, TypeError):
        raise not_now(5) from None


def not_now(retry_after: int) -> Unavailable:
    detail = "Your events can't be had from the analytics service right now: try again soon."
    return Unavailable(detail, retry_after=retry_after)


def write_list(document: Document, name: str, items: Iterable[dict[str, Any]]) -> None:
    """Writes one more member of the document, a list, item by item."""
    document.write(f', "{name}": ['.encode())
    for number, item in enumerate(items):
        document.write((", " if number else "").encode() + json.dumps(item).encode())
    document.write(b"]")
