"""Sends the queued mails: by SMTP, or as files into MAIL_DIR."""

from __future__ import annotations

import smtplib
import ssl
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from pathlib import Path

from sqlalchemy import select, update

from chassis import tracing
from chassis.database import transaction
from chassis.telemetry import get_logger
from users_app import clock, invites, names, resets
from users_app.models import Invite, Mail, db
from users_app.parts import parts
from users_app.relay.queue import rows

BATCH = 20
LEASE = timedelta(minutes=2)
GIVE_UP_AFTER = timedelta(days=1)
LONGEST_PAUSE_SECONDS = 300
SMTP_TIMEOUT_SECONDS = 10
log = get_logger(__name__)


def send_some() -> int:
    """Sends mails that are due; returns how many were looked at."""
    claimed = claim()
    for mail in claimed:
        send(mail)
    return len(claimed)


def send(mail: Mail) -> None:
    letter = composed(mail)
    try:
        if letter:
            deliver(letter.message)
    except (OSError, ValueError, smtplib.SMTPException, NeedsSmtpUtf8) as error:
        if letter and letter.reset_code:
            resets.revoke(letter.reset_code)
        settle_failure(mail, error)
        return
    remove(mail)


def settle_failure(mail: Mail, error: Exception) -> None:
    """Gives up at once where no later try can do better, else tries again later."""
    if isinstance(error, NeedsSmtpUtf8):
        give_up(mail, str(error))
    else:
        postpone(mail, type(error).__name__)


@tracing.untraced()
def claim() -> list[Mail]:
    now = clock.now()
    found = db.session.scalar(select(Mail.id).where(Mail.due_at <= now).limit(1))
    db.session.rollback()
    if found is None:
        return []
    due = select(Mail.id).where(Mail.due_at <= now).order_by(Mail.due_at).limit(BATCH)
    lease = (
        update(Mail)
        .where(Mail.id.in_(due.with_for_update(skip_locked=True)))
        .values(due_at=now + LEASE, attempts=Mail.attempts + 1)
        .returning(Mail)
        .execution_options(synchronize_session=False)
    )
    with transaction(db.session):
        claimed = list(db.session.scalars(lease))
        db.session.expunge_all()
    return claimed


class NeedsSmtpUtf8(Exception):
    """The address can't be told to this mail server, today or tomorrow."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail ready to go; a reset's code dies with a letter that could not be sent."""

    message: EmailMessage
    reset_code: str | None = None


def composed(mail: Mail) -> Letter | None:
    """Returns what to send, or None if there is nobody to send it to."""
    kinds = {"invite": invitation, "email_changed": change_notice}
    return kinds.get(mail.kind, reset_letter)(mail)


def reset_letter(mail: Mail) -> Letter | None:
    with transaction(db.session):
        issued = resets.issue(mail.recipient)
    if issued is None:
        return None
    code, address = issued
    text = (
        "Somebody, hopefully you, asked for a new password.\n\n"
        f"Set it here within an hour:\n{resets.link(code)}\n\n"
        "If it wasn't you, do nothing: your password stays as it is.\n"
    )
    return Letter(written(address, "A new password for Footfall", text), code)


def invitation(mail: Mail) -> Letter | None:
    invite = db.session.get(Invite, mail.invite_id)
    if invite is None or invite.used_at:
        return None
    text = (
        "You are invited to Footfall.\n\n"
        f"Register here until {invite.expires_at:%d %B %Y}:\n"
        f"{invites.link(invites.code(invite.salt))}\n"
    )
    return Letter(written(mail.recipient, "Your invitation to Footfall", text))


def change_notice(mail: Mail) -> Letter:
    text = (
        "The email address of your Footfall account was changed: mails about it no longer come "
        "here.\n\nIf that wasn't you, tell an admin of your installation at once.\n"
    )
    return Letter(written(mail.recipient, "Your email address for Footfall was changed", text))


def written(recipient: str, subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = parts().settings.mail_from
    message["To"] = recipient
    message["Subject"] = subject
    message["Date"] = format_datetime(clock.now())
    message["Message-ID"] = make_msgid(domain="footfall.invalid")
    message["Auto-Submitted"] = "auto-generated"
    # Quoted-printable would break the link over two lines.
    message.set_content(text, cte="7bit" if text.isascii() else "8bit")
    return message


def deliver(message: EmailMessage) -> None:
    """Hands the mail to the SMTP server, or writes it; raises OSError or SMTPException."""
    settings = parts().settings
    if not settings.smtp_host:
        write(message, Path(settings.mail_dir))
        return
    with connected() as server:
        if settings.smtp_username and settings.smtp_password:
            server.login(settings.smtp_username, settings.smtp_password.get_secret_value())
        hand_over(message, server)


def hand_over(message: EmailMessage, server: smtplib.SMTP) -> None:
    """Sends with the addresses as they are; where the server reads ASCII alone, by A-label."""
    server.ehlo_or_helo_if_needed()
    if not server.has_extn("smtputf8"):
        for header in ("From", "To"):
            message.replace_header(header, in_ascii(message[header].addresses[0]))
    server.send_message(message)


def in_ascii(address: Address) -> Address:
    """Returns the address with its domain's A-label; raises NeedsSmtpUtf8."""
    if not address.username.isascii():
        raise NeedsSmtpUtf8("the mail server has no SMTPUTF8, which this address needs")
    return Address(address.display_name, address.username, names.a_label(address.domain))


def connected() -> AbstractContextManager[smtplib.SMTP]:
    settings = parts().settings
    where = (settings.smtp_host, settings.smtp_port)
    if settings.smtp_security == "tls":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(*where, timeout=SMTP_TIMEOUT_SECONDS, context=context)
    server = smtplib.SMTP(*where, timeout=SMTP_TIMEOUT_SECONDS)
    if settings.smtp_security == "starttls":
        server.starttls(context=ssl.create_default_context())
    return server


def write(message: EmailMessage, folder: Path) -> None:
    """Writes the mail as a file that only this user can read."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{file_name(clock.now())}.eml"
    part = path.with_suffix(".part")
    part.touch(mode=0o600)
    part.write_bytes(message.as_bytes(policy=policy.default.clone(utf8=True)))
    part.rename(path)


def file_name(moment: datetime) -> str:
    return f"{moment:%Y%m%dT%H%M%S.%f}"


def postpone(mail: Mail, reason: str) -> None:
    """Tries again later, for a day; then says so and gives up."""
    if clock.now() - mail.created_at > GIVE_UP_AFTER:
        give_up(mail, reason)
        return
    pause = min(2 ** min(mail.attempts, 20), LONGEST_PAUSE_SECONDS)
    log.warning("mail postponed", mail_id=mail.id, kind=mail.kind, reason=reason, seconds=pause)
    again = clock.now() + timedelta(seconds=pause)
    with transaction(db.session):
        rows(update(Mail).where(Mail.id == mail.id).values(due_at=again))


def give_up(mail: Mail, reason: str) -> None:
    log.error("mail given up", mail_id=mail.id, kind=mail.kind, reason=reason)
    remove(mail)


def remove(mail: Mail) -> None:
    with transaction(db.session):
        if row := db.session.get(Mail, mail.id):
            db.session.delete(row)
