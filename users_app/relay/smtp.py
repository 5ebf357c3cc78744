"""A mail handed to the SMTP server, and what its answer, or its silence, means."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any

from users_app import names
from users_app.config import UsersSettings

CONNECT_SECONDS = 10
# RFC 5321, 4.5.3.2: who stops waiting earlier doesn't know whether the mail was taken.
REPLY_SECONDS = 5 * 60
DATA_SECONDS = 10 * 60
QUIT_SECONDS = 5
MAX_SAID_CHARACTERS = 300
# They say that the server wants another sign-in or TLS, whatever the mail.
LOGIN_CODES = frozenset((530, 534, 535, 538))

UNWRITABLE = (ValueError, LookupError, MessageError, smtplib.SMTPNotSupportedError)

SENT, REFUSED, DEFERRED, LOGIN = "sent", "refused", "deferred", "login"
UNREACHABLE, UNANSWERED = "unreachable", "unanswered"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a mail was not sent, or isn't known to be; `said` may hold addresses: not for logs.

    REFUSED is for good and about this mail; LOGIN, DEFERRED and UNREACHABLE may pass; after
    UNANSWERED the server may have taken the mail, or not.
    """

    outcome: str
    reason: str
    said: str = ""


class NeedsSmtpUtf8(Exception):
    """The address can't be told to this mail server, today or tomorrow."""


class LoginFailed(Exception):
    """The server didn't let us in: sign-in or STARTTLS failed."""


class Conversation(smtplib.SMTP):
    """With RFC 5321's time for each answer; `handed_over` is a mail whose answer is not there."""

    seconds = REPLY_SECONDS
    handed_over = False

    def getreply(self) -> tuple[int, bytes]:
        """Returns the server's answer; waits as long as the command before it may take."""
        if self.sock:
            self.sock.settimeout(self.seconds)
        return super().getreply()

    def data(self, msg: Any) -> tuple[int, bytes]:
        """Sends the mail itself."""
        self.seconds = DATA_SECONDS
        try:
            return super().data(msg)
        finally:
            self.seconds = REPLY_SECONDS

    def send(self, s: Any) -> None:
        """Sends a command, which is text, or a mail, which is bytes and holds its own end."""
        super().send(s)
        self.handed_over = isinstance(s, bytes)

    def hang_up(self) -> None:
        """Takes leave; whatever the server says to it, its answer to the mail stands."""
        self.seconds = QUIT_SECONDS
        with suppress(smtplib.SMTPException, OSError):
            self.quit()
        self.close()

    def break_off(self) -> None:
        """Ends the conversation from another thread."""
        with suppress(OSError):
            if self.sock:
                self.sock.shutdown(socket.SHUT_RDWR)


class SecureConversation(Conversation, smtplib.SMTP_SSL):
    """The same under TLS from the beginning."""


def send(
    message: EmailMessage, settings: UsersSettings, begun: Callable[[Conversation], None]
) -> Failure | None:
    """Hands the mail to the server; returns None if it took it. `begun` is told the connection."""
    server = None
    try:
        server = connected(settings)
        begun(server)
        let_in(server, settings)
        hand_over(message, server)
    except (OSError, *UNWRITABLE, smtplib.SMTPException, NeedsSmtpUtf8, LoginFailed) as error:
        return judged(error, handed_over=server is not None and server.handed_over)
    finally:
        if server:
            server.hang_up()
    return None


def connected(settings: UsersSettings) -> Conversation:
    where = (settings.smtp_host, settings.smtp_port)
    if settings.smtp_security == "tls":
        context = ssl.create_default_context()
        return SecureConversation(*where, timeout=CONNECT_SECONDS, context=context)
    return Conversation(*where, timeout=CONNECT_SECONDS)


def let_in(server: Conversation, settings: UsersSettings) -> None:
    """Encrypts and signs in as the settings have it; raises LoginFailed."""
    server.ehlo_or_helo_if_needed()
    try:
        if settings.smtp_security == "starttls":
            server.starttls(context=ssl.create_default_context())
        if settings.smtp_username and settings.smtp_password:
            server.login(settings.smtp_username, settings.smtp_password.get_secret_value())
    except smtplib.SMTPServerDisconnected:
        raise
    except (smtplib.SMTPException, ssl.SSLError) as error:
        raise LoginFailed(f"{type(error).__name__}: {error}") from None


def hand_over(message: EmailMessage, server: Conversation) -> None:
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


def judged(error: Exception, *, handed_over: bool) -> Failure:
    """Returns what the error means for the mail."""
    if isinstance(error, (LoginFailed, ssl.SSLError)):
        return Failure(LOGIN, "the mail server refused the sign-in or STARTTLS", said(error))
    if isinstance(error, NeedsSmtpUtf8):
        return Failure(REFUSED, str(error))
    if answer := answer_about_the_mail(error):
        return judged_answer(*answer)
    # An answer to the mail that is none leaves as much open as no answer.
    if handed_over or isinstance(error, smtplib.SMTPDataError):
        return Failure(UNANSWERED, "no answer to a mail that was handed over", said(error))
    if isinstance(error, smtplib.SMTPResponseException):  # to the greeting or EHLO
        return Failure(DEFERRED, f"SMTP {error.smtp_code}", said(error))
    if isinstance(error, UNWRITABLE):
        return Failure(REFUSED, f"the mail can't be written: {type(error).__name__}", said(error))
    return Failure(UNREACHABLE, type(error).__name__, said(error))


def answer_about_the_mail(error: Exception) -> tuple[int, bytes | str] | None:
    """Returns the server's refusal to MAIL, RCPT, DATA or the mail itself, if it is one."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return next(iter(error.recipients.values()))
    if isinstance(error, (smtplib.SMTPSenderRefused, smtplib.SMTPDataError)):
        return (error.smtp_code, error.smtp_error) if 400 <= error.smtp_code < 600 else None
    return None


def judged_answer(code: int, words: bytes | str) -> Failure:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    outcome = LOGIN if code in LOGIN_CODES else REFUSED if code >= 500 else DEFERRED
    return Failure(outcome, f"SMTP {code}", f"{code} {text}"[:MAX_SAID_CHARACTERS])


def said(error: Exception) -> str:
    return str(error)[:MAX_SAID_CHARACTERS]
