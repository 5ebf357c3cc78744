"""The base of every body, query and answer, and the types that several share."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
)

LARGEST_ID = 2**63 - 1


def rfc3339(moment: datetime) -> str:
    """Returns the moment in UTC with `Z`, microseconds only where there are some."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def single_line(text: str) -> str:
    """Returns the text; raises ValueError if it breaks the line or holds control characters."""
    # NUL is left out: it is refused in any text.
    if any(unicodedata.category(each) in ("Cc", "Zl", "Zp") for each in text.replace("\0", "")):
        raise ValueError("must not hold line breaks or control characters")
    return text


Timestamp = Annotated[AwareDatetime, PlainSerializer(rfc3339, return_type=str)]
Id = Annotated[int, Field(ge=1, le=LARGEST_ID)]
SINGLE_LINE = AfterValidator(single_line)
# What people name things by: it ends up in lists, headers and downloads.
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), SINGLE_LINE
]


class Model(BaseModel):
    """A JSON object: unknown fields are refused, and `"5"` is not 5."""

    model_config = ConfigDict(extra="forbid", strict=True)


def all_optional(schema: dict[str, Any]) -> None:
    schema.pop("required", None)


# Of a model whose answers hold those fields alone that were asked for with `fields`.
SPARSE = ConfigDict(json_schema_extra=all_optional)


class Page(Model):
    """Part of a list; each kind of list says what its `items` are."""

    next_cursor: str | None = Field(
        description="where the list goes on, for `cursor`; null on its last page",
        examples=[None],
    )


class Query(BaseModel):
    """A query string or form: unknown names are refused; numbers come as text.

    `prefixed` maps a prefix to the field that gathers such names as a dict.
    """

    model_config = ConfigDict(extra="forbid")
    prefixed: ClassVar[dict[str, str]] = {}


class NoQuery(Query):
    """A query string without names: that of a route that takes none."""


class FieldProblem(Model):
    """One complaint."""

    field: str = Field(
        description="the field as a dotted path, or `body` for the whole", examples=["email"]
    )
    message: str = Field(
        description="what is wrong with it, as the end of a sentence that begins with the field",
        examples=["is required"],
    )


class ProblemDocument(Model):
    """An error, as RFC 9457 has it."""

    type: str = Field(
        description="`about:blank`: the status says which kind of problem it is",
        examples=["about:blank"],
    )
    title: str = Field(description="the status in words", examples=["Not Found"])
    status: int = Field(description="the HTTP status", examples=[404])
    detail: str = Field(
        description="what is wrong with this request, in a sentence",
        examples=["There is nothing here."],
    )
    request_id: str | None = Field(
        description="the `X-Request-ID` of the request: it finds it in the logs",
        examples=["0b6f8c2d1f7a4e06"],
    )
    errors: list[FieldProblem] | None = Field(
        None, description="each complaint about a field, where fields are what is wrong"
    )
