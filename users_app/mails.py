"""Mails to be sent, written in the transaction of the change; the relay composes and sends."""

from __future__ import annotations

from sqlalchemy import delete

from users_app import clock
from users_app.models import Mail, db


def put_mail(kind: str, recipient: str, *, invite_id: int | None = None) -> None:
    """Adds a mail that is due at once."""
    now = clock.now()
    mail = Mail(kind=kind, recipient=recipient, invite_id=invite_id, created_at=now, due_at=now)
    db.session.add(mail)


def drop_mails(recipient: str) -> None:
    """Removes the mails to an address, within the transaction: its account goes."""
    db.session.execute(delete(Mail).where(Mail.recipient == recipient))
