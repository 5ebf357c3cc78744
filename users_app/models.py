"""The tables of the users service."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.database import RequestSession, UtcDateTime

BigId = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


# Rows stay readable after the commit that wrote them.
OPTIONS = {"class_": RequestSession, "expire_on_commit": False}
db = SQLAlchemy(model_class=Base, session_options=OPTIONS)

# A deleted newest id must not come back: ids outlive their rows in events and in the audit.
LASTING_IDS = {"sqlite_autoincrement": True}


class User(Base):
    """An account; `email_key` and `username_key` are what uniqueness is judged by."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("email_key"), UniqueConstraint("username_key"), LASTING_IDS)

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    email_key: Mapped[str] = mapped_column(Text)
    username: Mapped[str] = mapped_column(String(64), unique=True)
    username_key: Mapped[str] = mapped_column(Text)
    hashed_password: Mapped[str] = mapped_column(String(200))
    full_name: Mapped[str | None] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(16))
    is_active: Mapped[bool] = mapped_column(Boolean, default=True)
    search_text: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class FirstAccount(Base):
    """One row, written with the first account there ever was, and never deleted."""

    __tablename__ = "first_account"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Session(Base):
    """One sign-in and its family of refresh tokens, of which only the last is in force.

    Token `n` is an HMAC over (id, n, salt): none is kept, and `generation` tells which is next.
    """

    __tablename__ = "sessions"
    __table_args__ = (LASTING_IDS,)

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    salt: Mapped[bytes] = mapped_column(LargeBinary)
    generation: Mapped[int] = mapped_column(BigId, default=0)
    rotated_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    address: Mapped[str] = mapped_column(String(45))
    user_agent: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Revocation(Base):
    """A session whose access tokens no longer hold: all, or those issued before a Unix second.

    `digest` is the SHA-256 of the tokens' `sid`; the row outlives its session and account.
    """

    __tablename__ = "revocations"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    issued_before: Mapped[int | None] = mapped_column(BigInteger)
    kept_until: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class SignInFailures(Base):
    """Failed sign-ins in the present window, by a keyed digest of who tried it from where."""

    __tablename__ = "sign_in_failures"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    failures: Mapped[int] = mapped_column(Integer)
    window_ends: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class Invite(Base):
    """Leave to register once; the code is derived from the salt, its digest finds the row."""

    __tablename__ = "invites"
    __table_args__ = (LASTING_IDS,)

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    salt: Mapped[bytes] = mapped_column(LargeBinary)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    email: Mapped[str | None] = mapped_column(String(254))
    role: Mapped[str] = mapped_column(String(16))
    created_by: Mapped[int | None] = mapped_column(
        ForeignKey("users.id", ondelete="SET NULL"), index=True
    )
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    used_by: Mapped[int | None] = mapped_column(
        ForeignKey("users.id", ondelete="SET NULL"), index=True
    )


class RegistrationKey(Base):
    """The form that an account was made with, by a keyed digest: sent again, it is no other."""

    __tablename__ = "registration_keys"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class PasswordReset(Base):
    """A mailed leave to set a new password once; only the code's digest is kept."""

    __tablename__ = "password_resets"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Mail(Base):
    """A mail to be sent; what it says, and whether there is anybody, is settled at sending.

    `due_at` is also the lease: a claim moves it ahead. Message-ID and code are derived from
    the salt, made at the first claim, so that each try sends the same; `code_until` is when
    the code of a reset ends, once it is in force. A dead mail isn't due before year 9999,
    for the release before too, which knows no dead ones.
    """

    __tablename__ = "mails"
    __table_args__ = (LASTING_IDS,)

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    recipient: Mapped[str] = mapped_column(Text)
    invite_id: Mapped[int | None] = mapped_column(ForeignKey("invites.id", ondelete="CASCADE"))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    unanswered: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    salt: Mapped[bytes | None] = mapped_column(LargeBinary)
    code_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    last_error: Mapped[str | None] = mapped_column(Text)
    dead_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class MailAttempts(Base):
    """How many attempts to send a mail ended in this way, for the metrics."""

    __tablename__ = "mail_attempts"

    outcome: Mapped[str] = mapped_column(String(16), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)


class OutboxMessage(Base):
    """What analytics must hear of: an event, or an erasure with the event that follows it.

    `due_at` is also the lease: a claim moves it ahead, so a killed relay's rows come back.
    `traceparent` leads back to the request that wrote it, where that was traced.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        Index(
            "ix_outbox_due",
            "due_at",
            "id",
            postgresql_where=text("dead_at IS NULL"),
            sqlite_where=text("dead_at IS NULL"),
        ),
        LASTING_IDS,
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    user_id: Mapped[int | None] = mapped_column(BigId, index=True)
    event_id: Mapped[Any] = mapped_column(Uuid)
    event_type: Mapped[str] = mapped_column(String(100))
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    last_error: Mapped[str | None] = mapped_column(Text)
    dead_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    traceparent: Mapped[str | None] = mapped_column(String(55))


class AuditEntry(Base):
    """Who did what to which account; ids only, and rows are never changed or deleted.

    No foreign keys: an entry outlives its account, untouched.
    """

    __tablename__ = "audit"
    __table_args__ = (LASTING_IDS,)

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    action: Mapped[str] = mapped_column(String(40), index=True)
    actor_id: Mapped[int | None] = mapped_column(BigId, index=True)
    account_id: Mapped[int | None] = mapped_column(BigId, index=True)
    address: Mapped[str] = mapped_column(String(45))
    user_agent: Mapped[str | None] = mapped_column(String(200))
    request_id: Mapped[str | None] = mapped_column(String(64))
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
