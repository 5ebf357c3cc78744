"""Sign-ins and their families of refresh tokens: opened, rotated, ended.

A refresh token is (session, generation, HMAC): nothing of it is stored, each child follows
from its parent, and the session's `generation` says which one is in force.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import struct
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, select

from chassis.database import transaction
from chassis.keyset import rows_of
from chassis.pagination import Paging
from chassis.schema import LARGEST_ID
from chassis.telemetry import tell
from users_app import audit, clock, revocations
from users_app.models import Session, User, db
from users_app.origin import Origin
from users_app.parts import keyed_digest, parts

# Longer, and a thief and the owner could walk in step.
LOST_ANSWER = timedelta(seconds=60)
PREFIX = "rt_"
NUMBERS = struct.Struct(">QQ")
MAC_BYTES = 32


class InvalidGrant(Exception):
    """The refresh token is unknown, expired, spent or ended."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a sign-in or a refresh gives: whose session it is, and the next refresh token.

    The access token that goes with it is dated `issued_at`, a Unix second.
    """

    account: User
    session_id: int
    refresh_token: str
    issued_at: int


def open_session(account: User, origin: Origin) -> Grant:
    """Adds a session for the account, within the caller's transaction."""
    now = clock.now()
    session = Session(
        user_id=account.id,
        salt=secrets.token_bytes(16),
        address=origin.address,
        user_agent=origin.user_agent,
        created_at=now,
        last_used_at=now,
        expires_at=now + timedelta(days=parts().settings.refresh_token_days),
    )
    db.session.add(session)
    db.session.flush()
    end_surplus(account.id)
    return grant(account, session)


def end_surplus(user_id: int) -> None:
    """Ends the sessions unused longest, beyond as many as one account may have."""
    newest = select(Session.id).where(Session.user_id == user_id, *living())
    newest = newest.order_by(Session.last_used_at.desc(), Session.id.desc())
    kept = newest.limit(parts().settings.sessions_per_account)
    end(locked(user_id, Session.id.not_in(kept)))


def grant(account: User, session: Session) -> Grant:
    token = refresh_token(session, session.generation)
    return Grant(account, session.id, token, revocations.issue_second(session.id))


def refresh(token: str, origin: Origin) -> Grant:
    """Returns the next token of the family; raises InvalidGrant.

    The parent of a child that is still unused gets that child again for 60 s: its answer was
    lost. Any other token from the past is a copy: its family ends, and stays ended.
    """
    session_id, generation, mac = parsed(token)
    with transaction(db.session):
        found = living_session(session_id, mac, generation)
        next_grant = advanced(*found, generation, origin) if found else None
    if next_grant is None:
        raise InvalidGrant
    tell(user_id=next_grant.account.id)
    return next_grant


def living_session(session_id: int, mac: bytes, generation: int) -> tuple[Session, User] | None:
    """Returns the locked session and its account, if the token is genuine and both live."""
    query = select(Session).where(Session.id == session_id).with_for_update()
    session = db.session.scalar(query)
    if session is None or not hmac.compare_digest(mac_of(session, generation), mac):
        return None
    tell(account_id=session.user_id)
    account = db.session.get(User, session.user_id)
    if session.ended_at or session.expires_at <= clock.now():
        return None
    return (session, account) if account and account.is_active else None


def advanced(session: Session, account: User, generation: int, origin: Origin) -> Grant | None:
    now = clock.now()
    if generation == session.generation:
        session.generation += 1
        session.rotated_at = session.last_used_at = now
        session.address = origin.address
        return grant(account, session)
    if generation == session.generation - 1 and now - rotated(session) <= LOST_ANSWER:
        return grant(account, session)
    end([session])
    audit.record("refresh_token_reused", account.id, origin, session_id=session.id)
    return None


def rotated(session: Session) -> datetime:
    return session.rotated_at or session.created_at


def refresh_token(session: Session, generation: int) -> str:
    octets = NUMBERS.pack(session.id, generation) + mac_of(session, generation)
    return PREFIX + base64.urlsafe_b64encode(octets).decode()


def mac_of(session: Session, generation: int) -> bytes:
    return keyed_digest("refresh", NUMBERS.pack(session.id, generation) + session.salt)


def parsed(token: str) -> tuple[int, int, bytes]:
    """Returns session id, generation and MAC as the token claims them; raises InvalidGrant."""
    try:
        octets = base64.b64decode(token.removeprefix(PREFIX).encode("ascii"), b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise InvalidGrant from None
    if not token.startswith(PREFIX) or len(octets) != NUMBERS.size + MAC_BYTES:
        raise InvalidGrant
    session_id, generation = NUMBERS.unpack_from(octets)
    if session_id > LARGEST_ID:
        raise InvalidGrant
    return session_id, generation, octets[NUMBERS.size :]


def account_of_session(user_id: int, session_id: int) -> User | None:
    """Returns the active account whose session lives; None for any other."""
    query = (
        select(User)
        .join(Session, Session.user_id == User.id)
        .where(User.id == user_id, User.is_active, Session.id == session_id)
        .where(Session.ended_at.is_(None), Session.expires_at > clock.now())
    )
    return db.session.scalar(query)


def sessions_of(user_id: int) -> list[Session]:
    """Returns the account's living sessions, the latest used first."""
    query = select(Session).where(Session.user_id == user_id, *living())
    return list(db.session.scalars(query.order_by(Session.last_used_at.desc(), Session.id)))


def page_of(user_id: int, query: Paging) -> list[Session]:
    """Returns a page's rows of the account's living sessions, and one more.

    By the sign-in: the order of use changes between two pages.
    """
    chosen = select(Session).where(Session.user_id == user_id, *living())
    return rows_of(db.session, chosen, query, Session.id)


def end_session(user_id: int, session_id: int) -> bool:
    """Ends one session of the account, within the transaction; whether there was one."""
    return end(locked(user_id, Session.id == session_id)) > 0


def end_sessions(user_id: int, *, but: int | None = None) -> int:
    """Ends all sessions of the account (but one), within the transaction; returns how many."""
    return end(locked(user_id, Session.id != (but or 0)))


def revoke_tokens(user_id: int) -> None:
    """Revokes the access tokens issued so far, within the transaction; the sessions go on."""
    revocations.revoke_issued(each.id for each in locked(user_id))


def locked(user_id: int, *which: ColumnElement[bool]) -> list[Session]:
    """Returns the account's sessions that have not been ended, locked.

    Expired ones too: an access token may outlive its session by what is left of its minutes.
    """
    query = select(Session).where(Session.user_id == user_id, Session.ended_at.is_(None), *which)
    # In one order: of two who lock the same sessions, neither waits for the other in turn.
    return list(db.session.scalars(query.order_by(Session.id).with_for_update()))


def end(ending: list[Session]) -> int:
    """Ends locked sessions, and every token of theirs, everywhere; returns how many.

    The only place that does: nothing may end here and go on elsewhere.
    """
    for session in ending:
        session.ended_at = clock.now()
    # Written before anything else of the transaction: an account may be deleted next.
    db.session.flush()
    revocations.revoke(each.id for each in ending)
    return len(ending)


def living() -> tuple[Any, ...]:
    return (Session.ended_at.is_(None), Session.expires_at > clock.now())
