"""The users service's settings."""

from __future__ import annotations

from email import policy
from email.errors import MessageError
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from chassis.config import Port, Secret, ServiceUrl, Settings, is_loopback
from chassis.database import DatabaseUrl
from users_app.keys import key_ring


def usable_keys(pem: SecretStr) -> SecretStr:
    key_ring(pem.get_secret_value())
    return pem


PrivateKeys = Annotated[SecretStr, AfterValidator(usable_keys)]


class UsersSettings(Settings):
    """What the users service, its relay and its commands read."""

    service: ClassVar[str] = "users"

    users_database_url: DatabaseUrl
    analytics_url: ServiceUrl = "http://127.0.0.1:8002"
    public_url: ServiceUrl = Field(
        "http://127.0.0.1:8000", description="where people reach the dashboard: links in mails"
    )
    secret_key: Secret
    client_address_secret: Secret | None = None

    jwt_private_key: PrivateKeys
    jwt_issuer: str = Field("footfall", min_length=1)
    access_token_minutes: int = Field(15, ge=1, le=1440)
    refresh_token_days: int = Field(30, ge=1, le=400)

    sessions_per_account: int = Field(
        100, ge=1, description="a further one ends the one unused longest"
    )

    registration: Literal["open", "invite", "closed"] = "invite"
    first_account_is_admin: bool = False
    registrations_per_minute: int = Field(60, ge=0, description="0 switches the limit off")
    invite_days: int = Field(7, ge=1, le=365)

    bcrypt_rounds: int = Field(12, ge=4, le=17)
    hashing_slots: int = Field(1, ge=1, le=64, description="hashes at a time in one worker")
    sign_in_failures_per_address: int = Field(300, ge=1, description="in 15 minutes")

    smtp_host: str = Field("", description="empty: mails are written to MAIL_DIR")
    smtp_port: Port = 587
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_username: str = ""
    smtp_password: SecretStr | None = None
    mail_from: str = Field("Footfall <footfall@localhost>", pattern=r"^[^\x00-\x1f\x7f]+$")
    mail_dir: str = "var/mail"

    @field_validator("mail_from")
    @classmethod
    def one_address(cls, value: str) -> str:
        try:
            found = policy.default.header_factory("From", value).addresses
        except (LookupError, ValueError, MessageError):
            found = ()
        if len(found) != 1 or not (found[0].username and found[0].domain):
            raise ValueError("must be one address, as in Footfall <footfall@example.com>")
        return value

    @field_validator("first_account_is_admin")
    @classmethod
    def only_on_loopback(cls, value: bool, info: ValidationInfo) -> bool:
        if value and not is_loopback(info.data.get("bind_host", "")):
            raise ValueError(
                "must be off unless BIND_HOST is a loopback address: whoever comes first "
                "would be admin; use `flask --app users_app create-admin`"
            )
        return value
