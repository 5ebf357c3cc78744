"""Environment -> one frozen, typed object; every complaint at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from click import ClickException
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from chassis.errors import field_errors
from chassis.time_zones import zone_named

PLACEHOLDERS = ("change", "secret", "password", "placeholder", "example", "todo", "xxx")
# What the clocks of two of our machines may differ by.
MAX_CLOCK_DIFFERENCE_SECONDS = 30


class ConfigurationError(ClickException):
    """The environment can't be used; the text lists every complaint, one a line.

    As click's own exception it ends a command with these lines and not with a traceback.
    """


def strong(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if len(text) < 32:
        raise ValueError("must have at least 32 characters; `openssl rand -hex 32` makes one")
    if len(set(text)) < 10 or any(word in text.lower() for word in PLACEHOLDERS):
        raise ValueError("looks like a placeholder; `openssl rand -hex 32` makes a real one")
    return secret


def service_url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    return text.rstrip("/")


def bare(host: str) -> str:
    """Returns a host as a socket takes it: an IPv6 one without its brackets."""
    return host.removeprefix("[").removesuffix("]")


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to what listens there."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def zone(name: str) -> str:
    return zone_named(name).key


def split(value: Any) -> Any:
    """Returns the parts of a comma-separated text."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Secret = Annotated[SecretStr, AfterValidator(strong)]
ServiceUrl = Annotated[str, AfterValidator(service_url)]
Zone = Annotated[str, AfterValidator(zone)]
Port = Annotated[int, Field(ge=1, le=65535)]
CommaSeparated = Annotated[tuple[str, ...], BeforeValidator(split)]


class Settings(BaseModel):
    """What every app reads; a field's name in capitals is the variable's."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    service: ClassVar[str]

    bind_host: Annotated[str, AfterValidator(bare)] = "127.0.0.1"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    redis_url: str = ""
    cors_origins: CommaSeparated = ()
    api_calls_per_minute: int = Field(6000, ge=0, description="0 switches the limit off")
    trusted_proxies: int = Field(0, ge=0, le=5, description="hops whose X-Forwarded-* counts")
    max_body_bytes: int = Field(64 * 1024, ge=1024)
    liveness_dir: Path | None = Field(
        None, description="where relay and maintenance touch a file each round"
    )


S = TypeVar("S", bound=Settings)


def load(cls: type[S], environ: Mapping[str, str] = os.environ) -> S:
    """Reads `cls` from the environment, `NAME_FILE` too; raises ConfigurationError."""
    complaints: list[str] = []
    values: dict[str, str] = {}
    for field in cls.model_fields:
        try:
            value = read(field.upper(), environ)
        except ConfigurationError as error:
            complaints.append(str(error))
            continue
        if value is not None:
            values[field] = value
    try:
        settings = cls.model_validate(values)
    except ValidationError as error:
        complaints += [f"{each.field.upper()} {each.message}" for each in field_errors(error)]
    if complaints:
        raise ConfigurationError("\n".join(complaints))
    return settings


def read(name: str, environ: Mapping[str, str]) -> str | None:
    """Returns the variable, or the stripped text of the file that `NAME_FILE` names.

    Empty, either is None: as if it weren't given.
    """
    if path := environ.get(f"{name}_FILE"):
        try:
            return Path(path).read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{name}_FILE can't be read: {error}") from None
    return environ.get(name) or None
