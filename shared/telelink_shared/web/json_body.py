"""The door for a JSON body: media type, size, encoding and doubtful JSON are refused before anyone works on it.

What costs nothing to leave to the parser is left to it: it refuses what nests deeper than some 200 levels, half
surrogate pairs, a byte order mark and control characters, all of which pass for JSON elsewhere. It takes NaN and
Infinity, which each field then refuses by name, and the last of two members of one name, which is looked for here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json
from starlette.requests import Request

from telelink_shared.field_errors import field_error, pointer
from telelink_shared.problem import (
    MAX_ERRORS,
    BadRequest,
    FieldError,
    InvalidInput,
    MalformedJson,
    NotUtf8,
    TooLarge,
    UnsupportedMediaType,
)

T = TypeVar("T")
Location = tuple[int | str, ...]

# An error of pydantic's keeps the input that it is about: from JSON as a copy of its own, of parsed values a reference.
# So larger bodies are parsed first; of these, the dozen copies that one bad object can lead to are nothing.
_SMALL_BYTES: Final = 8 * 1024
# Nothing else is read out of a header that is longer.
_MAX_LENGTH_DIGITS: Final = 15
_ENCODINGS: Final = frozenset({b"utf-8", b"utf8", b"us-ascii"})


@dataclass(frozen=True)
class Shape(Generic[T]):
    """What an address takes.

    Attributes:
        n_members: at least how many members of objects a value was made of, each name counted once. A body that has as
            many colons has no name twice; any other is looked at closely.
        max_values: more than a body that is in order can have.
        max_members: of each object, where the body is an array of flat ones; likewise.
    """

    adapter: TypeAdapter[T]
    n_members: Callable[[T], int]
    max_values: int
    max_members: int | None = None
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", frozenset(_names(self.adapter.json_schema())))


def _names(schema: Any) -> Iterator[str]:
    """Every name of a member that the schema knows: these can be told to a client, others are the client's own."""
    if isinstance(schema, dict):
        yield from schema.get("properties", ())
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _names(part)


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"The body may have at most {limit_bytes:,} bytes. Split it into several requests.")


def _check_announced(headers: Iterable[tuple[bytes, bytes]], limit_bytes: int, *, is_json: bool) -> None:
    """One look at each header, which is less than the framework's way of asking for one."""
    for name, value in headers:
        if name == b"content-type" and value != b"application/json" and is_json:
            media_type, *parameters = value.lower().split(b";")
            if media_type.strip() != b"application/json" and not media_type.strip().endswith(b"+json"):
                raise UnsupportedMediaType("Send the body as application/json.")
            for parameter in parameters:
                key, _, charset = parameter.partition(b"=")
                if key.strip() == b"charset" and charset.strip(b' "') not in _ENCODINGS:
                    raise UnsupportedMediaType("Send the body as application/json in UTF-8.")
        elif name == b"content-length":
            if len(value) > _MAX_LENGTH_DIGITS or (value.isdigit() and int(value) > limit_bytes):
                raise _too_large(limit_bytes)
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise UnsupportedMediaType("Send the body as it is, without a content encoding.")


async def read_body(request: Request, *, limit_bytes: int) -> bytes:
    """The body, once it is known to be JSON by its header, small enough and UTF-8.

    Raises:
        UnsupportedMediaType, TooLarge, NotUtf8, BadRequest
    """
    _check_announced(request.scope["headers"], limit_bytes, is_json=True)
    body = await _read(request, limit_bytes)
    must_be_utf8(body)
    return body


async def read_bytes(request: Request, *, limit_bytes: int) -> bytes:
    """A body of any media type, once it is known to be small enough.

    Raises:
        UnsupportedMediaType, TooLarge, BadRequest
    """
    _check_announced(request.scope["headers"], limit_bytes, is_json=False)
    return await _read(request, limit_bytes)


async def _read(request: Request, limit_bytes: int) -> bytes:
    parts = []
    size = 0
    more = True
    # What the framework's own way of reading adds to this takes as long again.
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The connection ended before the body did.")
        part = message.get("body", b"")
        size += len(part)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def must_be_utf8(body: bytes) -> None:
    """Refuse what is not.

    Raises:
        NotUtf8
    """
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise NotUtf8(f"The body must be UTF-8; byte {error.start} is not.") from error


def validate_json(shape: Shape[T], body: bytes) -> T:
    """The body as the value that it stands for.

    Raises:
        MalformedJson: not JSON.
        InvalidInput: JSON of another shape, or with a name twice in one object, with a pointer to each fault.
        TooLarge: more values, or elements of an array, than there can be.
    """
    value = _value(shape, body)
    if _may_have_duplicates(shape, body, value):
        _refuse_duplicates(shape, body)
    return value


async def validate_large_json(shape: Shape[T], body: bytes) -> T:
    """As `validate_json`, for bodies of megabytes: a close look at one goes on beside what others ask.

    Raises:
        MalformedJson, InvalidInput, TooLarge
    """
    value = _value(shape, body)
    if _may_have_duplicates(shape, body, value):
        if len(body) <= _SMALL_BYTES:
            _refuse_duplicates(shape, body)
        else:
            await asyncio.to_thread(_refuse_duplicates, shape, body)
    return value


def _value(shape: Shape[T], body: bytes) -> T:
    try:
        if len(body) <= _SMALL_BYTES:
            return shape.adapter.validate_json(body)
        return shape.adapter.validate_python(_parsed(shape, body))
    except ValidationError as error:
        raise _problem(error, shape.names) from error


def _may_have_duplicates(shape: Shape[T], body: bytes, value: T) -> bool:
    # Each member has one colon, and words can only add to them: as many colons as members means that none came twice.
    return body.count(b":") != shape.n_members(value)


def _parsed(shape: Shape[Any], body: bytes) -> Any:
    # What stands between values, also within words: as good as counting them, and thousands of times as fast.
    if body.count(b",") + body.count(b"[") + body.count(b"{") > shape.max_values:
        raise TooLarge("The body has more values than this address takes. Split it into several requests.")
    try:
        values = from_json(body)
    except ValueError as error:
        raise _malformed(str(error)) from error
    if shape.max_members is not None:
        for position, value in enumerate(values if isinstance(values, list) else ()):
            if isinstance(value, dict) and len(value) > shape.max_members:
                fault = FieldError(f"/{position}", "too_long", f"must not have more than {shape.max_members} members")
                raise InvalidInput("One value is not valid; see 'errors'.", errors=[fault])
    return values


class _Twice:
    """Stands in for an object that has a name twice."""

    def __init__(self, name: str) -> None:
        self.name = name


def _second_name(members: list[tuple[str, Any]]) -> str:
    seen: set[str] = set()
    for name, _ in members:
        if name in seen:
            return name
        seen.add(name)
    raise AssertionError("no name comes twice")


def _refuse_duplicates(shape: Shape[Any], body: bytes) -> None:
    """Look closely, for half the time that a batch takes to parse and validate.

    Colons within words, and members that are ignored, lead here too.

    Raises:
        InvalidInput
    """
    has_duplicates = False

    def of_members(members: list[tuple[str, Any]]) -> dict[str, Any] | _Twice:
        nonlocal has_duplicates
        value = dict(members)
        if len(value) == len(members):
            return value
        has_duplicates = True
        return _Twice(_second_name(members))

    # Numbers are of no interest here, and turning thousands of digits into one takes long or fails.
    tree = json.loads(body, object_pairs_hook=of_members, parse_int=len, parse_float=len, parse_constant=len)
    if has_duplicates:
        fault = FieldError(
            pointer(_location(tree), shape.names), "duplicate_name", "must not be given twice in one object"
        )
        raise InvalidInput("A name is given twice in one object; see 'errors'.", errors=[fault])


def _location(tree: Any) -> Location:
    """Of the name that is given twice; the outermost, and of those the first."""
    waiting: list[tuple[Location, Any]] = [((), tree)]
    for location, value in waiting:
        if isinstance(value, _Twice):
            return (*location, value.name)
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        waiting += [((*location, key), each) for key, each in inner if isinstance(each, dict | list | _Twice)]
    return ()


def _malformed(reason: str) -> MalformedJson:
    return MalformedJson("The body is not valid JSON (RFC 8259).", errors=[FieldError("", "json_invalid", reason)])


def _problem(error: ValidationError, names: frozenset[str]) -> InvalidInput | MalformedJson | TooLarge:
    found = error.errors(include_url=False, include_input=False)
    first = found[0]
    if first["type"] == "json_invalid":
        # The parser's own reason, which names a line and column and never the content.
        return _malformed(str(first.get("ctx", {}).get("error", "is not JSON")))
    if first["type"] == "too_long" and not first["loc"]:
        limit = first["ctx"]["max_length"]
        return TooLarge(f"At most {limit:,} customers at once. Split them into several requests.")
    errors = [field_error(each, names) for each in found[:MAX_ERRORS]]
    count = f"{len(found)} values are" if len(found) > 1 else "One value is"
    return InvalidInput(f"{count} not valid; see 'errors'.", errors=errors, n_errors=len(found))
