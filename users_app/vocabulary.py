"""What the document of the users service says of its names: meanings and examples."""

from __future__ import annotations

from chassis.vocabulary import Terms, Vocabulary

ACCOUNT = 42
RULE = "8 to 128 characters, not among those tried first, without the username"
CODE = "qk3N0q1mT4yXq2wJ8b5r7A"
SESSION = "3f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea"
TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl"  # noqa: S105
REFRESH = "r1.42.Yk3N0q1mT4yXq2wJ8b5r7A"

TERMS: Terms = {
    "{user_id}": ("the account's id", ACCOUNT),
    "{invite_id}": ("the invite's id", 7),
    "{session_id}": ("the session's id", 311),
    "id": ("what it is called by in paths", ACCOUNT),
    "AccountQuery.id": ("these accounts alone; repeatable, at most 100", [ACCOUNT]),
    "email": ("an email address; two are one by ASCII case and domain alone", "ada@example.com"),
    "InviteRequest.email": (
        "binds the invite to this address, and has it mailed there; left out: whoever has the code",
        "grace@example.com",
    ),
    "username": ("a name to sign in with, unlike any other's but for case", "ada"),
    "SignIn.username": ("the username, or the email", "ada"),
    "TokenForm.username": ("the username, or the email, with `grant_type=password`", "ada"),
    "full_name": ("how the person is called, or null", "Ada Lovelace"),
    "role": (
        "`viewer` sees aggregates and own events, `analyst` all events, `admin` manages accounts",
        "analyst",
    ),
    "is_active": ("false while the account is disabled: it can't sign in", True),
    "created_at": ("when it was made", "2026-01-31T12:00:00Z"),
    "updated_at": ("when it was last changed", "2026-02-03T09:30:00Z"),
    "current_password": (
        "the password in force, where the call needs it of oneself",
        "correct horse battery",
    ),
    "new_password": (
        f"the next password: {RULE}",
        "staple correct horse",
    ),
    "password": ("the password", "correct horse battery"),
    "Registration.password": (f"a password: {RULE}", "correct horse battery"),
    "TokenForm.password": ("with `grant_type=password`", "correct horse battery"),
    "invite": ("the code of an invite", CODE),
    "NewInvite.invite": ("the code to register with, shown this once", CODE),
    "link": (
        "the dashboard's page to register with the code",
        f"https://footfall.example.com/register?invite={CODE}",
    ),
    "expires_in_days": ("for how many days it holds; left out: as the service is set up", 7),
    "created_by": ("the account that made it, or null if that is gone", ACCOUNT),
    "expires_at": ("until when it holds", "2026-02-07T12:00:00Z"),
    "used_at": ("when somebody registered with it, or null", None),
    "used_by": ("the account that registered with it, or null", None),
    "token": ("the code of the mail", CODE),
    "message": ("what happens next", "If there is an account with this address, a mail is coming."),
    "exported_at": ("when the export was made", "2026-02-03T09:30:00Z"),
    "account": "the account itself",
    "AccountExport.sessions": "where the account is signed in",
    "invites": "the invites that it made or used",
    "mails": "the mails to its address that wait or were refused",
    "audit": "what was done by it and to it",
    "undelivered_events": "events about it that analytics has not taken yet",
    "events": "its events in analytics",
    "as_of": ("up to when the events are complete, if they come from a replica", None),
    "items": "what is listed",
    "kty": ("the key's type", "EC"),
    "crv": ("its curve", "P-256"),
    "x": ("its point, in base64url", "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
    "y": ("its point, in base64url", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"),
    "kid": ("its RFC 7638 thumbprint, which tokens name", SESSION[:43]),
    "use": ("what it is for: signatures", "sig"),
    "alg": ("how tokens are signed with it", "ES256"),
    "keys": "the keys, the one that signs first",
    "RevokedSessions.sessions": "the sessions that have ended of late",
    "sid_sha256": ("the SHA-256 of the session's `sid`, in hex", SESSION),
    "issued_before": ("tokens with an `iat` before it no longer hold; null: none does", None),
    "RevokedSessions.issued_before": ("no token with an `iat` before it holds; usually null", None),
    "access_token": ("an ES256 JWT to send as `Authorization: Bearer …`", TOKEN),
    "token_type": ("how the token is sent", "bearer"),
    "expires_in": ("the access token's life in seconds", 900),
    "refresh_token": ("gets the next tokens, once", REFRESH),
    "TokenForm.refresh_token": ("with `grant_type=refresh_token`", REFRESH),
    "scope": ("what the token may do, separated by blanks", "reports:read"),
    "user": "whose tokens they are",
    "everywhere": ("true ends all sessions of the account", False),
    "grant_type": ("`password` or `refresh_token`", "password"),
    "error": ("one of RFC 6749's codes", "invalid_grant"),
    "error_description": ("what is wrong, in a sentence", "The username or password is wrong."),
    "q": ("looked for in email, username and full name", "ada"),
    "action": ("what was done", "signed_in"),
    "actor_id": ("the account that did it; null: nobody who is known", ACCOUNT),
    "actor_username": ("its name, where it still exists", "ada"),
    "account_id": ("the account that it was done to", ACCOUNT),
    "account_username": ("its name, where it still exists", "ada"),
    "address": ("where from", "203.0.113.7"),
    "user_agent": ("by which program", "Mozilla/5.0"),
    "request_id": ("the `X-Request-ID` of the request", "0b6f8c2d1f7a4e06"),
    "details": ("what else is known of it", {}),
    "last_used_at": ("when its tokens were last renewed", "2026-02-03T09:30:00Z"),
    "current": ("whether it is the one that asks", True),
}
EXAMPLES = {
    "Registration": {
        "email": "ada@example.com",
        "username": "ada",
        "password": "correct horse battery",
        "full_name": "Ada Lovelace",
    },
    "TokenForm": {
        "grant_type": "password",
        "username": "ada",
        "password": "correct horse battery",
    },
    "ProfileChange": {"full_name": "Ada King"},
    "AccountChange": {"role": "analyst", "is_active": True},
    "InviteRequest": {"email": "grace@example.com", "role": "analyst", "expires_in_days": 7},
}
GROUPS = {
    "accounts": ("Accounts", "Register, and manage accounts."),
    "me": ("One's own account", "Profile, password, sessions and export."),
    "sessions": ("Signing in", "Sign in and out."),
    "tokens": ("Tokens", "Tokens for programs, by RFC 6749."),
    "invites": ("Invites", "Invite people to register."),
    "password_resets": ("Password resets", "Set a new password by mail."),
    "audit": ("Audit trail", "Who did what to which account."),
    "keys": ("Verifying tokens", "For services that take access tokens."),
}
VOCABULARY = Vocabulary(TERMS, EXAMPLES, GROUPS)
