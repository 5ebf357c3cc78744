"""What the queued mails say; each try writes the same letter, under one Message-ID."""

from __future__ import annotations

from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from sqlalchemy import update

from chassis.database import transaction
from users_app import clock, invites, names, resets
from users_app.keys import base64url
from users_app.models import Invite, Mail, db
from users_app.parts import keyed_digest, parts
from users_app.relay.queue import rows


def letter(mail: Mail) -> EmailMessage | None:
    """Returns what to send, or None if there is nobody to send it to, or nothing to say."""
    kinds = {"invite": invitation, "email_changed": change_notice}
    return kinds.get(mail.kind, reset_letter)(mail)


def reset_letter(mail: Mail) -> EmailMessage | None:
    code = resets.code(salt_of(mail))
    if mail.code_until is None:
        put_in_force(mail)
    address = resets.address_of(code)
    if address is None or mail.code_until is None:
        return None
    text = (
        "Somebody, hopefully you, asked for a new password.\n\n"
        f"Set it here until {minute(mail.code_until)}:\n{resets.link(code)}\n\n"
        "If it wasn't you, do nothing: your password stays as it is.\n"
    )
    return written(mail, address, "A new password for Footfall", text)


def put_in_force(mail: Mail) -> None:
    """Puts the mail's code in force, once: one that was used or replaced stays dead."""
    with transaction(db.session):
        if issued := resets.issue(mail.recipient, salt_of(mail)):
            mail.recipient, mail.code_until = issued
            known = {"recipient": mail.recipient, "code_until": mail.code_until}
            rows(update(Mail).where(Mail.id == mail.id).values(known))


def invitation(mail: Mail) -> EmailMessage | None:
    invite = db.session.get(Invite, mail.invite_id, populate_existing=True)
    if invite is None or invite.used_at or invite.expires_at <= clock.now():
        return None
    text = (
        "You are invited to Footfall.\n\n"
        f"Register here until {invite.expires_at:%d %B %Y}:\n"
        f"{invites.link(invites.code(invite.salt))}\n"
    )
    return written(mail, mail.recipient, "Your invitation to Footfall", text)


def change_notice(mail: Mail) -> EmailMessage:
    text = (
        "The email address of your Footfall account was changed: mails about it no longer come "
        "here.\n\nIf that wasn't you, tell an admin of your installation at once.\n"
    )
    return written(mail, mail.recipient, "Your email address for Footfall was changed", text)


def written(mail: Mail, recipient: str, subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = parts().settings.mail_from
    message["To"] = recipient
    message["Subject"] = subject
    message["Date"] = format_datetime(mail.created_at)
    message["Message-ID"] = message_id(mail, message["From"].addresses[0])
    message["Auto-Submitted"] = "auto-generated"
    # Quoted-printable would break the link over two lines.
    message.set_content(text, cte="7bit" if text.isascii() else "8bit")
    return message


def message_id(mail: Mail, sender: Address) -> str:
    """Returns the mail's Message-ID: by it, a receiver tells a second copy from a second mail."""
    name = base64url(keyed_digest("message id", salt_of(mail))[:18])
    return f"<{name}@{names.a_label(sender.domain)}>"


def salt_of(mail: Mail) -> bytes:
    assert mail.salt is not None, "a claim makes it"
    return mail.salt


def minute(moment: datetime) -> str:
    return f"{moment:%H:%M} UTC on {moment:%d %B %Y}"
