"""What can go wrong, in business words; `problems.py` turns each into one HTTP answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

MAX_COMPLAINTS = 100  # of one kind about one body or event


@dataclass(frozen=True, slots=True)
class FieldError:
    """One complaint about one field of a request; `field` is a dotted path."""

    field: str
    message: str


class Problem(Exception):
    """An RFC 9457 problem: status, title, detail, field errors and extra headers."""

    status = 500
    title = "Internal Server Error"

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})


class BadRequest(Problem):
    """The request as a whole could not be read."""

    status, title = 400, "Bad Request"


class Unauthenticated(Problem):
    """No caller, or one that could not prove who it is."""

    status, title = 401, "Unauthorized"

    def __init__(self, detail: str = "Sign in first.", **given: Any) -> None:
        super().__init__(detail, **given)
        self.headers.setdefault("WWW-Authenticate", "Bearer")


class Forbidden(Problem):
    """The caller is known and may not do this."""

    status, title = 403, "Forbidden"

    def __init__(self, detail: str = "You may not do this.", **given: Any) -> None:
        super().__init__(detail, **given)


class NotFound(Problem):
    """There is no such thing, or the caller may not know that there is."""

    status, title = 404, "Not Found"

    def __init__(self, detail: str = "There is nothing here.", **given: Any) -> None:
        super().__init__(detail, **given)


class Conflict(Problem):
    """The change collides with what is stored; `field` names the one that is taken."""

    status, title = 409, "Conflict"

    def __init__(self, detail: str, *, field: str | None = None, **given: Any) -> None:
        errors = [FieldError(field, detail)] if field else []
        super().__init__(detail, errors=errors, **given)


class TooLarge(Problem):
    """The body is over the limit."""

    status, title = 413, "Content Too Large"


class UriTooLong(Problem):
    """The address is over the limit."""

    status, title = 414, "URI Too Long"


class UnsupportedMediaType(Problem):
    """The body is of a kind that this route does not read."""

    status, title = 415, "Unsupported Media Type"


class Invalid(Problem):
    """The request was read, and some of its fields break a rule: all complaints at once."""

    status, title = 422, "Unprocessable Content"

    def __init__(self, errors: Iterable[FieldError], detail: str = "") -> None:
        complaints = list(errors)
        super().__init__(detail or summary_of(complaints), errors=complaints)


class TooManyRequests(Problem):
    """A limit was reached; `retry_after` is in seconds."""

    status, title = 429, "Too Many Requests"

    def __init__(self, detail: str = "Too many requests.", *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, retry_after))})


class Unavailable(Problem):
    """Something that this call needs is down or too slow; `retry_after` is in seconds."""

    status, title = 503, "Service Unavailable"

    def __init__(self, detail: str, *, retry_after: int = 2) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, retry_after))})


def summary_of(errors: Sequence[FieldError]) -> str:
    """Returns one sentence for a list of field errors."""
    if len(errors) == 1:
        return f"{errors[0].field}: {errors[0].message}"
    return f"{len(errors)} fields need attention."


def field_errors(error: ValidationError) -> list[FieldError]:
    """Returns Pydantic's first hundred complaints as plain sentences, one for each field."""
    complaints = error.errors(include_url=False, include_input=False)
    return [
        FieldError(field_path(each["loc"]), sentence(each)) for each in complaints[:MAX_COMPLAINTS]
    ]


def field_path(location: tuple[int | str, ...]) -> str:
    """Returns `items.3.name` for the location of an error; `body` for the whole."""
    return ".".join(str(part) for part in location) or "body"


SENTENCES = {
    "missing": "is required",
    "extra_forbidden": "is not a known field",
    "string_type": "must be text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must have the form {pattern}",
    "string_unicode": "must be valid Unicode text",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    # Of a body that is JSON: what its reader doesn't take.
    "json_invalid": "holds a number or a nesting that is too large",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "int_from_float": "must be a whole number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "greater_than": "must be over {gt}",
    "less_than": "must be under {lt}",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "list_type": "must be a list",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
    "datetime_type": "must be a time such as 2026-01-31T12:00:00Z",
    "datetime_parsing": "must be a time such as 2026-01-31T12:00:00Z",
    "datetime_from_date_parsing": "must be a time such as 2026-01-31T12:00:00Z",
    "timezone_aware": "must carry an offset, as in 2026-01-31T12:00:00Z",
    "date_type": "must be a date such as 2026-01-31",
    "date_parsing": "must be a date such as 2026-01-31",
    "date_from_datetime_parsing": "must be a date such as 2026-01-31",
    "url_parsing": "must be an address such as http://127.0.0.1:8001",
    "url_scheme": "must be an address that begins with http:// or https://",
}


def sentence(error: ErrorDetails) -> str:
    """Returns the rule that was broken, without the library's jargon."""
    context = error.get("ctx", {})
    if error["type"] in ("value_error", "assertion_error") and "error" in context:
        return str(context["error"])
    if template := SENTENCES.get(error["type"]):
        return template.format(**context)
    return error["msg"][:1].lower() + error["msg"][1:]
