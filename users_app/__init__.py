"""Users service: routes -> schemas -> accounts | sign_in | sessions -> outbox -> models; relay.

A change and what analytics must hear of it are written in one transaction; the relay, a
process of its own, delivers: accounts -> outbox -> relay => analytics.
"""

from __future__ import annotations

from flask import Flask
from flask_bcrypt import Bcrypt

from chassis import api_docs, assemble, database
from chassis.auth import Caller
from chassis.bearer import BearerAuthenticator, invalid_token
from chassis.client import ApiClient
from chassis.config import load
from chassis.limits import exempt_route, limit_route
from chassis.version import VERSION
from users_app import cli, routes, tokens
from users_app.config import UsersSettings
from users_app.keys import key_ring
from users_app.metrics import MailCollector, OutboxCollector
from users_app.models import User, db
from users_app.parts import Parts, derived_key
from users_app.passwords import PasswordHasher
from users_app.sessions import account_of_session
from users_app.vocabulary import VOCABULARY

DESCRIPTION = (
    "Accounts and their tokens. Sign in at `/login` or `/token`, and send the access token as "
    "`Authorization: Bearer …` here and to analytics."
)


def create_app(settings: UsersSettings | None = None) -> Flask:
    """Returns the app; raises ConfigurationError with every complaint about the settings."""
    settings = settings or load(UsersSettings)
    app = Flask(__name__)
    app.extensions["users"] = made_parts(app, settings)
    connect(app, settings)
    proof = settings.client_address_secret
    assemble(
        app,
        settings,
        authenticate=authenticator(app, settings),
        checks={"database": lambda: database.check_writes(db.engine, User)},
        collectors=[OutboxCollector(app), MailCollector(app)],
        client_address_secret=proof.get_secret_value() if proof else None,
    )
    database.install(app)
    tokens.install(app)
    routes.install(app)
    for endpoint in ("keys.get_jwks", "keys.list_revoked_sessions"):
        exempt_route(app, endpoint)
    limit_by_address(app, settings)
    api_docs.install(
        app,
        title="Footfall users service",
        version=VERSION,
        description=DESCRIPTION,
        vocabulary=VOCABULARY,
    )
    cli.install(app)
    return app


def made_parts(app: Flask, settings: UsersSettings) -> Parts:
    hasher = PasswordHasher(
        Bcrypt(app),
        derived_key(settings, "passwords"),
        rounds=settings.bcrypt_rounds,
        slots=settings.hashing_slots,
    )
    keys = key_ring(settings.jwt_private_key.get_secret_value())
    return Parts(settings, keys, hasher, ApiClient(settings.analytics_url, "analytics"))


def connect(app: Flask, settings: UsersSettings) -> None:
    url = settings.users_database_url
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = database.engine_options(
        url, application_name="footfall-users"
    )
    db.init_app(app)
    with app.app_context():
        database.prepare(db.engine)


def authenticator(app: Flask, settings: UsersSettings) -> SessionAuthenticator:
    keys = app.extensions["users"].keys
    bearer = BearerAuthenticator(app, audience="users", issuer=settings.jwt_issuer, keys=keys)
    return SessionAuthenticator(bearer)


class SessionAuthenticator:
    """Names the caller by token, and asks the database whether account and session live.

    The role is the present one: a token's would be up to its life old.
    """

    def __init__(self, bearer: BearerAuthenticator) -> None:
        self.bearer = bearer

    def __call__(self) -> Caller | None:
        named = self.bearer()
        if named is None:
            return None
        account = account_of_session(named.user_id or 0, session_number(named.session_id))
        if account is None:
            raise invalid_token("The session has ended: sign in again.")
        scopes = frozenset(tokens.SCOPES[account.role].split())
        return Caller("user", named.subject, scopes, account.id, account.role, named.session_id)


def session_number(session_id: str | None) -> int:
    text = session_id or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


def limit_by_address(app: Flask, settings: UsersSettings) -> None:
    """Limits what strangers may call for others' accounts and mailboxes."""
    if settings.registrations_per_minute:
        limit = f"{settings.registrations_per_minute} per minute"
        for endpoint in ("accounts.register", "password_resets.request_password_reset"):
            limit_route(app, endpoint, limit)
