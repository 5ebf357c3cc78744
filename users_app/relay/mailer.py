"""The mails as a queue: claimed for a while, sent by SMTP or into MAIL_DIR, and settled."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from pathlib import Path

from sqlalchemy import ColumnElement, case, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from chassis import tracing
from chassis.database import transaction
from chassis.telemetry import get_logger
from users_app import clock, resets
from users_app.models import Mail, MailAttempts, db
from users_app.parts import parts
from users_app.relay import smtp
from users_app.relay.queue import Backlog, rows
from users_app.relay.smtp import Conversation, Failure

# A killed relay's mails come back after it; while one is under way it is prolonged.
LEASE = timedelta(minutes=1)
# RFC 5321, 4.5.4.1: at least four to five days. A reset's code ends much earlier.
GIVE_UP_AFTER = timedelta(days=5)
LONGEST_PAUSE_SECONDS = 300
# Each may have left a copy: after so many a person decides.
MAX_UNANSWERED = 3
UNANSWERED_PAUSE = timedelta(minutes=5)
EXPIRED = "expired"
OUTCOMES = (
    smtp.SENT, smtp.REFUSED, smtp.DEFERRED, smtp.LOGIN, smtp.UNREACHABLE, smtp.UNANSWERED, EXPIRED,
)  # fmt: skip
NEVER = datetime(9999, 12, 31, tzinfo=UTC)
DEAD_MAILS_STAY = timedelta(days=30)
log = get_logger(__name__)


@tracing.untraced()
def claim(limit: int) -> list[Mail]:
    """Returns up to `limit` mails that are due, leased to this process."""
    now = clock.now()
    found = db.session.scalar(select(Mail.id).where(Mail.due_at <= now).limit(1))
    db.session.rollback()
    if found is None:
        return []
    due = select(Mail.id).where(Mail.due_at <= now).order_by(Mail.due_at).limit(limit)
    lease = (
        update(Mail)
        .where(Mail.id.in_(due.with_for_update(skip_locked=True)))
        .values(due_at=now + LEASE, attempts=Mail.attempts + 1)
        .returning(Mail)
        .execution_options(synchronize_session=False)
    )
    with transaction(db.session):
        claimed = list(db.session.scalars(lease))
        for mail in claimed:
            mail.salt = mail.salt or secrets.token_bytes(16)
    db.session.expunge_all()
    return claimed


def renew(mails: list[Mail]) -> None:
    """Prolongs the leases of mails that are under way."""
    with transaction(db.session):
        for mail in mails:
            change(mail, due_at=clock.now() + LEASE)


def change(mail: Mail, **values: object) -> None:
    """Changes the mail, within the transaction, unless another relay has claimed it since."""
    mine = Mail.id == mail.id, Mail.attempts == mail.attempts
    rows(update(Mail).where(*mine).values(values))


def deliver(
    message: EmailMessage, mail: Mail, begun: Callable[[Conversation], None] = lambda _: None
) -> Failure | None:
    """Hands the mail to the SMTP server, or writes it; returns None if it went."""
    settings = parts().settings
    if settings.smtp_host:
        return smtp.send(message, settings, begun)
    try:
        write(message, Path(settings.mail_dir) / file_name(mail))
    except OSError as error:
        return Failure(smtp.UNREACHABLE, type(error).__name__, smtp.said(error))
    return None


def write(message: EmailMessage, path: Path) -> None:
    """Writes the mail as a file that only this user can read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_suffix(".part")
    part.touch(mode=0o600)
    part.write_bytes(message.as_bytes(policy=policy.default.clone(utf8=True)))
    part.rename(path)


def file_name(mail: Mail) -> str:
    """Returns a name that no other mail has, and that a second copy of this one has too."""
    return f"{mail.created_at:%Y%m%dT%H%M%S.%f}-{mail.id:012}.eml"


def settle(mail: Mail, failure: Failure | None) -> None:
    """Removes what was sent, keeps what was refused as dead, and postpones the rest."""
    if failure is None:
        remove(mail, smtp.SENT)
        log.info("mail sent", mail_id=mail.id, kind=mail.kind, attempts=mail.attempts)
    elif failure.outcome == smtp.REFUSED:
        bury(mail, failure)
    elif failure.outcome == smtp.UNANSWERED:
        settle_unanswered(mail, failure)
    elif clock.now() - mail.created_at > GIVE_UP_AFTER:
        bury(mail, Failure(EXPIRED, f"given up after days: {failure.reason}", failure.said))
    else:
        seconds = min(2 ** min(mail.attempts, 20), LONGEST_PAUSE_SECONDS)
        # Jitter for mails that failed together, not for secrets.
        postpone(mail, failure, timedelta(seconds=seconds * random.uniform(0.5, 1.0)))  # noqa: S311


def settle_unanswered(mail: Mail, failure: Failure) -> None:
    """Tries again, later: better a second copy, with the same Message-ID and code, than none."""
    unanswered = mail.unanswered + 1
    if unanswered < MAX_UNANSWERED:
        postpone(mail, failure, UNANSWERED_PAUSE * unanswered, unanswered=unanswered)
    else:
        bury(mail, failure)


def drop(mail: Mail) -> None:
    """Removes a mail that there is nobody to send to any more, or never was."""
    expired = mail.code_until is not None and mail.code_until <= clock.now()
    if expired:
        log.error("mail given up: its code has ended", mail_id=mail.id, kind=mail.kind)
    remove(mail, EXPIRED if expired else None)


def remove(mail: Mail, outcome: str | None) -> None:
    with transaction(db.session):
        if outcome:
            count(outcome)
        rows(delete(Mail).where(Mail.id == mail.id))


def postpone(mail: Mail, failure: Failure, pause: timedelta, **values: object) -> None:
    reason, seconds = failure.reason, round(pause.total_seconds(), 1)
    log.warning("mail postponed", mail_id=mail.id, kind=mail.kind, reason=reason, seconds=seconds)
    with transaction(db.session):
        count(failure.outcome)
        change(mail, due_at=clock.now() + pause, last_error=told(failure), **values)


def bury(mail: Mail, failure: Failure) -> None:
    """Keeps the mail as dead; a code that was refused is dead too, one that may be there isn't."""
    log.error("mail given up", mail_id=mail.id, kind=mail.kind, reason=failure.reason)
    with transaction(db.session):
        count(failure.outcome)
        change(mail, dead_at=clock.now(), due_at=NEVER, last_error=told(failure))
        if mail.salt and mail.code_until and failure.outcome == smtp.REFUSED:
            resets.revoke(resets.code(mail.salt))


def told(failure: Failure) -> str:
    """Returns the reason with the server's own words, for whoever has to decide."""
    return f"{failure.reason}: {failure.said}" if failure.said else failure.reason


def count(outcome: str) -> None:
    """Counts how an attempt ended, within the transaction."""
    dialect = sqlite if db.engine.dialect.name == "sqlite" else postgresql
    first = dialect.insert(MailAttempts).values(outcome=outcome, number=1)
    db.session.execute(
        first.on_conflict_do_update(
            index_elements=[MailAttempts.outcome], set_={"number": MailAttempts.number + 1}
        )
    )


@dataclass(frozen=True, slots=True)
class MailFigures:
    """What waits, and how many attempts ended in each way since the database was made."""

    backlog: Backlog
    attempts: dict[str, int]


def figures() -> MailFigures:
    """Returns what the metrics tell of mails."""
    alive = Mail.dead_at.is_(None)
    waiting = select(func.count(), func.min(Mail.created_at)).where(alive)
    pending, oldest = db.session.execute(waiting).one()
    dead = db.session.scalar(select(func.count()).select_from(Mail).where(~alive)) or 0
    age = (clock.now() - oldest).total_seconds() if oldest else 0.0
    counted = db.session.execute(select(MailAttempts.outcome, MailAttempts.number)).all()
    attempts = dict.fromkeys(OUTCOMES, 0) | {row.outcome: row.number for row in counted}
    return MailFigures(Backlog(pending, max(0.0, age), dead), attempts)


def listed(*, dead_only: bool, limit: int) -> list[Mail]:
    """Returns up to `limit` mails, oldest first."""
    query = select(Mail).order_by(Mail.id).limit(limit)
    if dead_only:
        query = query.where(Mail.dead_at.is_not(None))
    return list(db.session.scalars(query))


def requeue(ids: list[int]) -> int:
    """Makes dead mails (all of them without ids) due again; returns how many.

    A reset gets a new code, and so a new Message-ID; others keep theirs.
    """
    again = {
        "dead_at": None, "due_at": clock.now(), "created_at": clock.now(), "attempts": 0,
        "unanswered": 0, "code_until": None,
        "salt": case((Mail.code_until.is_not(None), None), else_=Mail.salt),
    }  # fmt: skip
    with transaction(db.session):
        return rows(update(Mail).where(*dead(ids)).values(again))


def discard(ids: list[int]) -> int:
    """Removes dead mails (all of them without ids); returns how many."""
    with transaction(db.session):
        return rows(delete(Mail).where(*dead(ids)))


def dead(ids: list[int]) -> tuple[ColumnElement[bool], ...]:
    found = Mail.dead_at.is_not(None)
    return (found, Mail.id.in_(ids)) if ids else (found,)
