"""API keys as they are asked for and answered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from chassis.pagination import PageQuery
from chassis.schema import SPARSE, Model, Name, Page, Timestamp

Scope = Literal["events:write", "events:read", "reports:read"]


class KeyIn(Model):
    """A key to make."""

    name: Name
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=3)]
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] | None = None


class KeyOut(Model):
    """A key, without its text."""

    id: int
    name: str
    scopes: list[Scope]
    prefix: str | None = Field(description="how the key begins; null for keys of before")
    created_by: int | None = Field(description="the account that made it, which may be gone")
    created_at: Timestamp
    expires_at: Timestamp | None
    last_used_at: Timestamp | None = Field(description="to about a minute; null if never")


class NewKey(KeyOut):
    """A key with its text, which is shown this once."""

    key: str


class SparseKey(KeyOut):
    """A key, or the fields of it that were asked for."""

    model_config = SPARSE


class KeyPage(Page):
    """Keys, in the order they were made."""

    items: list[SparseKey]


class KeysQuery(PageQuery):
    """Which keys to list."""

    listed = "keys"
    item = KeyOut
