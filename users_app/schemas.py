"""What the users service takes and answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo

from chassis.pagination import PageQuery
from chassis.schema import SPARSE, Id, Model, Page, Query, Timestamp
from users_app import names, passwords, revocations

Role = Literal["viewer", "analyst", "admin"]


def new_password(text: str, info: ValidationInfo) -> str:
    found = passwords.complaints(text, (info.data or {}).get("username"))
    if found:
        raise ValueError(" and ".join(found))
    return text


Email = Annotated[str, Field(max_length=320), AfterValidator(names.email)]
Username = Annotated[str, Field(max_length=200), AfterValidator(names.username)]
FullName = Annotated[str, Field(max_length=200), AfterValidator(names.full_name)]
NewPassword = Annotated[str, AfterValidator(new_password)]
# Longer than any that is accepted: a sign-in judges by the hash alone.
Password = Annotated[str, Field(max_length=1024)]
Identifier = Annotated[str, Field(max_length=1024)]
Code = Annotated[str, Field(min_length=1, max_length=200)]


class Account(Model):
    """An account as answered."""

    id: Id
    email: str
    username: str
    full_name: str | None
    role: Role
    is_active: bool
    created_at: Timestamp
    updated_at: Timestamp

    model_config = ConfigDict(from_attributes=True)


class Registration(Model):
    """Who registers; `invite` is the code of an invite."""

    email: Email
    username: Username
    password: NewPassword
    full_name: FullName | None = None
    invite: Code | None = None


class SignIn(Model):
    """`username` is a username or an email."""

    username: Identifier
    password: Password


class TokenForm(Query):
    """RFC 6749: other names are ignored, and an empty value is none."""

    model_config = ConfigDict(extra="ignore")

    grant_type: str = ""
    username: Identifier = ""
    password: Password = ""
    refresh_token: Annotated[str, Field(max_length=1024)] = ""


class TokenAnswer(Model):
    """An access token with its life in seconds, and the refresh token to use once."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105
    expires_in: int
    refresh_token: str
    scope: str


class TokenRefusal(Model):
    """An error of `/token`, as RFC 6749 has it."""

    error: str
    error_description: str


class SignInAnswer(TokenAnswer):
    """The tokens, and whose they are."""

    user: Account


class PublicKey(Model):
    """The public half of a signing key, as RFC 7517 has it."""

    kty: Literal["EC"]
    crv: Literal["P-256"]
    x: str
    y: str
    kid: str
    use: Literal["sig"]
    alg: Literal["ES256"]


class PublicKeys(Model):
    """The keys in force, the one that signs first."""

    keys: list[PublicKey]


class AccountExport(Model):
    """All that is held about an account, analytics' events included."""

    exported_at: Timestamp
    account: Account
    sessions: list[dict[str, Any]]
    invites: list[dict[str, Any]]
    mails: list[dict[str, Any]]
    audit: list[dict[str, Any]]
    undelivered_events: list[dict[str, Any]]
    events: list[dict[str, Any]]
    as_of: Timestamp | None = None


class RevokedSession(Model):
    """A session by the SHA-256 of its `sid`, in hex.

    Its access tokens with an `iat` before `issued_before` no longer hold; without that, none.
    """

    sid_sha256: str
    issued_before: Timestamp | None


class RevokedSessions(Model):
    """Whatever an unexpired access token must be checked against.

    Usually `issued_before` is null. Where more than 10,000 sessions ended, it stands for those
    that are not listed: no token with an `iat` before it holds.
    """

    issued_before: Timestamp | None
    sessions: list[RevokedSession] = Field(max_length=revocations.MAX_LISTED)


class SignOut(Model):
    """`everywhere` ends all sessions, else this one ends."""

    everywhere: bool = False


class ProfileChange(Model):
    """What to change of one's own account; a new email or username needs `current_password`."""

    email: Email = Field(default_factory=str)
    username: Username = Field(default_factory=str)
    full_name: FullName | None = None
    current_password: Password | None = None

    def changes(self) -> dict[str, Any]:
        """Returns the account's fields that were sent."""
        sent = self.model_dump(include=self.model_fields_set, exclude={"current_password"})
        return dict(sent)


class AccountChange(ProfileChange):
    """The same, with what only an admin may change."""

    role: Role = Field(default_factory=lambda: "viewer")
    is_active: bool = Field(default_factory=bool)


class PasswordChange(Model):
    """The present password, and the next one."""

    current_password: Password
    new_password: NewPassword


class Deletion(Model):
    """Leave to delete one's own account."""

    current_password: Password


class DeletionByAnyone(Model):
    """`current_password` is needed for one's own account only."""

    current_password: Password | None = None


class SessionAnswer(Model):
    """One place where the account is signed in; `current` is the one that asks."""

    id: Id
    address: str
    user_agent: str
    created_at: Timestamp
    last_used_at: Timestamp
    expires_at: Timestamp
    current: bool


class SparseSession(SessionAnswer):
    """A session, or the fields of it that were asked for."""

    model_config = SPARSE


class SessionPage(Page):
    """One's own living sessions, the latest sign-in first."""

    items: list[SparseSession]


class SessionQuery(PageQuery):
    """Which of one's living sessions to list."""

    listed = "sessions"
    item = SessionAnswer


class SparseAccount(Account):
    """An account, or the fields of it that were asked for."""

    model_config = SPARSE


class AccountPage(Page):
    """Accounts, the newest first."""

    items: list[SparseAccount]


class AccountQuery(PageQuery):
    """Which accounts to list; `q` is looked for in email, username and full name."""

    listed = "accounts"
    item = Account

    id: list[Id] = Field([], max_length=100)
    q: str | None = Field(None, max_length=200)
    role: Role | None = None
    is_active: bool | None = None


class InviteRequest(Model):
    """Whom to invite: an address binds the invite to it, and has it mailed there."""

    email: Email | None = None
    role: Role = "viewer"
    expires_in_days: Annotated[int, Field(ge=1, le=365)] | None = None


class InviteAnswer(Model):
    """An invite; its code is not among what is kept."""

    id: Id
    email: str | None
    role: Role
    created_by: int | None
    created_at: Timestamp
    expires_at: Timestamp
    used_at: Timestamp | None
    used_by: int | None

    model_config = ConfigDict(from_attributes=True)


class SparseInvite(InviteAnswer):
    """An invite, or the fields of it that were asked for."""

    model_config = SPARSE


class InvitePage(Page):
    """Invites, the newest first."""

    items: list[SparseInvite]


class InviteQuery(PageQuery):
    """Which invites to list."""

    listed = "invites"
    item = InviteAnswer


class NewInvite(InviteAnswer):
    """A new invite: `invite` is the code to register with, shown this once."""

    invite: str
    link: str

    @classmethod
    def of(cls, made: Any, invite: str, link: str) -> Self:
        """Returns the answer for a stored invite and its code."""
        shown = InviteAnswer.model_validate(made)
        return cls(**dict(shown), invite=invite, link=link)


class ResetRequest(Model):
    """Whose password was forgotten."""

    email: Email


class ResetAnswer(Model):
    """The same sentence whether or not the account exists."""

    message: str


class ResetConfirmation(Model):
    """The code of the mail, and the next password."""

    token: Code
    new_password: NewPassword


class AuditAnswer(Model):
    """Who did what to which account, when and from where; names where they still exist."""

    id: Id
    created_at: Timestamp
    action: str
    actor_id: int | None
    actor_username: str | None
    account_id: int | None
    account_username: str | None
    address: str
    user_agent: str | None
    request_id: str | None
    details: dict[str, Any]


class SparseAuditEntry(AuditAnswer):
    """An entry, or the fields of it that were asked for."""

    model_config = SPARSE


class AuditPage(Page):
    """Entries of the audit trail, the newest first."""

    items: list[SparseAuditEntry]


class AuditQuery(PageQuery):
    """Which entries to list."""

    listed = "audit"
    item = AuditAnswer

    action: str | None = Field(None, max_length=40)
    actor_id: Id | None = None
    account_id: Id | None = None
