"""One decorator for a JSON route: what it takes, what it answers; read strictly, documented."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, wraps
from itertools import islice
from types import MappingProxyType
from typing import Any, TypeVar, get_origin

from flask import Flask, Response, current_app, request
from pydantic import BaseModel, TypeAdapter, ValidationError
from werkzeug.datastructures import MultiDict
from werkzeug.http import generate_etag
from werkzeug.routing import BaseConverter

from chassis import strict_json
from chassis.errors import (
    MAX_COMPLAINTS,
    BadRequest,
    FieldError,
    Invalid,
    NotFound,
    Problem,
    TooLarge,
    UnsupportedMediaType,
    field_errors,
)
from chassis.schema import LARGEST_ID, NoQuery, Query
from chassis.strict_json import Repeated, refuse_repeated
from chassis.visibility import visible

# Shorter ones can be guessed.
IDEMPOTENCY_KEY = re.compile(r"[!-~]{16,200}")
Body = TypeVar("Body", bound=BaseModel)
View = Callable[..., Any]
NESTED = (dict, list)  # by name: a union made anew for each value costs thrice the question


@dataclass(frozen=True, slots=True)
class Operation:
    """What a route takes and answers; openapi.py writes its document from it."""

    answers: Mapping[int, Any]
    body: type[BaseModel] | None
    query: type[Query] | None
    form: type[BaseModel] | None
    errors: tuple[type[Problem], ...]
    error_model: type[BaseModel] | None
    raw: bool
    optional: bool
    etag: bool
    any_query: bool
    idempotent: bool
    media_types: tuple[str, ...]
    answer_types: tuple[str, ...]
    answer_headers: Mapping[str, str]


def api(
    *,
    answers: Mapping[int, Any],
    body: type[BaseModel] | None = None,
    query: type[Query] | None = None,
    form: type[BaseModel] | None = None,
    errors: Iterable[type[Problem]] = (),
    error_model: type[BaseModel] | None = None,
    body_raw: bool = False,
    body_optional: bool = False,
    media_types: tuple[str, ...] = ("application/json",),
    answer_types: tuple[str, ...] = ("application/json",),
    answer_headers: Mapping[str, str] = MappingProxyType({}),
    etag: bool = False,
    any_query: bool = False,
    idempotent: bool = False,
) -> Callable[[View], View]:
    """Passes the validated `body`, `query` and `form` to the view, and shapes its answer.

    The view returns a model, a dict, a list, a Response, or one of these with a status;
    `answers` maps each status to a model, a union or None, the usual status first; `errors`
    are those that not every route may answer; `answer_headers` says what the usual answer's
    own headers mean. `body_raw` passes the bytes as `raw` and only
    documents `body`; without a body, `body_optional` passes the model's defaults. `error_model`
    is how the route's own handlers shape errors, its 422s as 400s. `etag` honours If-None-Match
    by the body's digest, without its `as_of`: that the same was true later is no other answer.
    A name in the query string that no `query` has is refused, but where foreign programs call
    and send their own: `any_query`.
    `idempotent` passes the `Idempotency-Key` header, or None, as `idempotency_key`.
    """
    operation = Operation(
        answers=answers,
        body=body,
        query=query,
        form=form,
        errors=tuple(errors),
        error_model=error_model,
        raw=body_raw,
        optional=body_optional,
        etag=etag,
        any_query=any_query,
        idempotent=idempotent,
        media_types=media_types,
        answer_types=answer_types,
        answer_headers=answer_headers,
    )

    def decorate(view: View) -> View:
        @wraps(view)
        def call(**path: Any) -> Response:
            answer = shape(view(**path, **given(operation)), operation)
            return revalidated(answer) if etag else answer

        call.operation = operation  # type: ignore[attr-defined]
        return call

    return decorate


def given(operation: Operation) -> dict[str, Any]:
    """Returns what the request gives the view, read and validated; raises all complaints at once.

    A body that can't be read at all is told before anything that it says.
    """
    values: dict[str, Any] = {}
    complaints: list[FieldError] = []
    for name, read in readers(operation):
        try:
            values[name] = read()
        except Invalid as problem:
            complaints += problem.errors
    if complaints:
        raise Invalid(complaints)
    if operation.query is None:
        values.pop("query", None)
    return values


def readers(operation: Operation) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yields each part of a request that the route takes, and what reads it."""
    if operation.idempotent:
        yield "idempotency_key", idempotency_key
    if operation.query or not operation.any_query:
        yield "query", lambda: parse_query(operation.query or NoQuery)
    if operation.form:
        yield "form", partial(parse_form, operation.form)
    if operation.raw:
        yield "raw", body_bytes
    elif operation.body:
        yield "body", partial(body_of, operation.body, optional=operation.optional)


def body_of(model: type[Body], *, optional: bool) -> Body:
    """Returns the JSON body as `model`, or the model's defaults where it may be absent and is."""
    return model() if optional and not body_bytes() else parse_body(model)


def idempotency_key() -> str | None:
    """Returns what tells a repeat of a request from another one like it; raises Invalid."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
        raise Invalid([FieldError("Idempotency-Key", "must be 16 to 200 visible ASCII characters")])
    return key


def parse_body(model: type[Body]) -> Body:
    """Returns the JSON body as `model`; 400 or 415 if it is none, 422 with all complaints."""
    if not request.is_json:
        raise UnsupportedMediaType("Send the body as JSON, with Content-Type: application/json.")
    data = body_bytes()
    document = json_object(data)
    complaints = unstorable(document)
    try:
        parsed = model.model_validate_json(data)
    except ValidationError as error:
        # A lone surrogate makes Pydantic refuse the whole body: ours names the field.
        others = [each for each in field_errors(error) if not complaints or each.field != "body"]
        raise Invalid([*complaints, *others]) from None
    if complaints:
        raise Invalid(complaints)
    return parsed


def body_bytes() -> bytes:
    """Returns the body, decoded; raises TooLarge."""
    data = request.get_data()
    if len(data) > current_app.config["MAX_FORM_MEMORY_SIZE"]:
        raise TooLarge("The body is over the limit.")
    return data


def json_object(data: bytes, *, by_itself: bool = False) -> dict[str, Any]:
    """Returns the object in `data`; raises BadRequest for all that strict JSON is not.

    `by_itself`: objects below in which a name stands twice are told by `unstorable`.
    """
    try:
        document = strict_json.parsed(data, Repeated if by_itself else refuse_repeated)
    except UnicodeDecodeError:
        raise BadRequest("The body is not UTF-8.") from None
    except ValueError as error:
        raise BadRequest(f"The body is not valid JSON: {error}.") from None
    if not isinstance(document, dict) or isinstance(document, Repeated):
        raise BadRequest("The body must be a JSON object, with each name once.")
    return document


def unstorable(document: Any) -> list[FieldError]:
    """Returns the first hundred complaints about what no database can hold.

    That is NUL and lone surrogates, in texts and names, and a name that stands twice.
    """
    return list(islice(unstorable_parts(document), MAX_COMPLAINTS))


def unstorable_parts(document: Any) -> Iterator[FieldError]:
    """Yields them without recursion, and writes no path but theirs: senders choose the depth."""
    path: list[object] = []
    pending: list[Iterator[tuple[Any, Any]]] = [iter([("", document)])]
    while pending:
        for name, value in pending[-1]:
            if isinstance(value, str):
                if reason := bad_text(value):
                    yield FieldError(written(*path, name), reason)
            elif isinstance(value, NESTED):
                path.append(name)
                yield from bad_names(value, path)
                pending.append(iter(value.items() if isinstance(value, dict) else enumerate(value)))
                break
        else:
            pending.pop()
            del path[-1:]


def bad_names(value: dict[str, Any] | list[Any], path: list[object]) -> Iterator[FieldError]:
    if isinstance(value, Repeated):
        yield FieldError(written(*path), "has a name that stands twice")
    for name in value if isinstance(value, dict) else ():
        if bad_text(name):
            yield FieldError(
                ascii(written(*path, name)), "has a name with a character no text may hold"
            )


def written(*path: object) -> str:
    """Returns the path of a value, which begins with the whole body."""
    return ".".join(map(str, path[1:])) or "body"


def bad_text(text: str) -> str | None:
    """Returns why the text can't be stored, or None."""
    if "\x00" in text:
        return "must not contain the NUL character"
    if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
        return "must be valid Unicode text"
    return None


def parse_query(model: type[Query]) -> Query:
    """Returns the query string as `model`; raises Invalid with all complaints."""
    return parsed_names(model, request.args)


def parse_form(model: type[Body]) -> Body:
    """Returns the urlencoded form as `model`; raises Invalid with all complaints."""
    return parsed_names(model, request.form)


def parsed_names(model: type[Body], names: MultiDict[str, str]) -> Body:
    values, complaints = gathered(model, names)
    try:
        parsed = model.model_validate(values)
    except ValidationError as error:
        raise Invalid([*complaints, *field_errors(error)]) from None
    if complaints:
        raise Invalid(complaints)
    return parsed


def gathered(
    model: type[BaseModel], names: MultiDict[str, str]
) -> tuple[dict[str, Any], list[FieldError]]:
    """Returns the names as the model's fields, lists where it has lists, and the misfits."""
    values: dict[str, Any] = {}
    complaints: list[FieldError] = []
    for name, given_values in names.lists():
        if any(bad_text(each) for each in (name, *given_values)):
            complaints.append(FieldError(ascii(name)[1:-1], "must not contain the NUL character"))
        elif is_list(model, name):
            values[name] = given_values
        elif len(given_values) > 1 and is_known(model, name):
            complaints.append(FieldError(name, "must be given once"))
        else:
            place(model, values, name, given_values[0])
    return values, complaints


def place(model: type[BaseModel], values: dict[str, Any], name: str, value: str) -> None:
    prefixed: dict[str, str] = getattr(model, "prefixed", {})
    for prefix, target in prefixed.items():
        if name.startswith(prefix) and len(name) > len(prefix):
            values.setdefault(target, {})[name.removeprefix(prefix)] = value
            return
    values[name] = value


def is_known(model: type[BaseModel], name: str) -> bool:
    prefixes: dict[str, str] = getattr(model, "prefixed", {})
    return name in model.model_fields or name.startswith(tuple(prefixes))


def is_list(model: type[BaseModel], name: str) -> bool:
    found = model.model_fields.get(name)
    return found is not None and get_origin(found.annotation) in (list, tuple)


ANY = TypeAdapter(Any)
AS_OF = "as_of"


def shape(answer: Any, operation: Operation) -> Response:
    """Returns the view's answer as a JSON response, without what the caller may not see."""
    usual_status = next(iter(operation.answers))
    content, status = answer if isinstance(answer, tuple) else (answer, usual_status)
    if isinstance(content, Response):
        return content
    content = visible(content, operation.answers.get(status))
    if content is None:
        return Response(status=status)
    answer = Response(dumped(content), status=status, content_type="application/json")
    if operation.etag and isinstance(content, dict) and AS_OF in content:
        lasting = {name: value for name, value in content.items() if name != AS_OF}
        answer.set_etag(generate_etag(dumped(lasting)), weak=True)
    return answer


def dumped(content: Any) -> bytes:
    if isinstance(content, BaseModel):
        return content.model_dump_json().encode()
    return ANY.dump_json(content)


def revalidated(answer: Response) -> Response:
    """Returns the answer with its ETag, or 304 when the caller has it already."""
    if answer.status_code != 200 or answer.is_streamed:
        return answer
    answer.headers["Cache-Control"] = "private, no-cache"
    # Weak: compression changes the bytes and not the meaning.
    answer.add_etag(weak=True)  # unless it has one
    if not request.if_match:  # which is for changes, and would be a 412 that is no problem
        answer.make_conditional(request)
    return answer


class IdConverter(BaseConverter):
    """`<id:name>`: 1 to 2**63-1 in plain ASCII digits; anything else is a 404."""

    regex = r"[0-9]{1,19}"

    def to_python(self, value: str) -> int:
        return int(value)


def install_paths(app: Flask) -> None:
    """Adds `<id:…>`, and answers 404 for what nothing can be named by.

    A converter that refuses a number makes Werkzeug answer 405 where a path has several
    methods, so the range is checked here.
    """
    app.url_map.converters["id"] = IdConverter

    @app.before_request
    def refuse_impossible_names() -> None:
        for value in (request.view_args or {}).values():
            if isinstance(value, str) and bad_text(value):
                raise NotFound()
            if isinstance(value, int) and not 1 <= value <= LARGEST_ID:
                raise NotFound()
