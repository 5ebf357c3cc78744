"""The mails that a test run wrote into its folder, read as a person would."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from flask import Flask

from users_app.relay.senders import Senders


def deliver(app: Flask) -> int:
    """Sends what is due, and waits for it; returns how many mails were looked at."""
    with app.app_context():
        senders, looked_at = Senders(app), 0
        while begun := senders.begin():
            looked_at += begun
            senders.finish(60)
        return looked_at


def mails(folder: Path) -> list[EmailMessage]:
    """Returns the mails in the order in which they were written."""
    files = sorted(folder.glob("*.eml"))
    return [message_from_bytes(each.read_bytes(), policy=policy.default) for each in files]


def code_in(mail: EmailMessage) -> str:
    """Returns the code at the end of the mail's link."""
    found = re.search(r"https://\S+=(\S+)", mail.get_content())
    assert found, mail.get_content()
    return found[1]
