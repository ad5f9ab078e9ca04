"""Reading a JSON body: media type, size and encoding, before anything looks inside."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from telelink_shared.problem import (
    BadRequest,
    FieldError,
    InvalidInput,
    MalformedJson,
    NotUtf8,
    TooLarge,
    UnsupportedMediaType,
)

T = TypeVar("T")


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"The body may have at most {limit_bytes:,} bytes. Split it into several requests.")


async def read_body(request: Request, *, limit_bytes: int) -> bytes:
    """The body, once it is known to be JSON by its header, small enough and UTF-8.

    Raises:
        UnsupportedMediaType, TooLarge, NotUtf8, BadRequest
    """
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType("Send the body as application/json.")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise _too_large(limit_bytes)
    parts = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit_bytes:
                raise _too_large(limit_bytes)
            parts.append(part)
    except ClientDisconnect as error:
        raise BadRequest("The connection ended before the body did.") from error
    body = b"".join(parts)
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise NotUtf8(f"The body must be UTF-8; byte {error.start} is not.") from error
    return body


def _pointer(location: tuple[int | str, ...]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


# Our words for what pydantic found; none of them repeats the value. The braces are filled from the limits.
_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": "is not a field of this request",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "finite_number": "must be a finite number",
    "multiple_of": "must be a whole number",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_type": "must be a string",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "too_long": "must not be longer than {max_length}",
    "string_too_long": "must not be longer than {max_length} characters",
    "string_pattern_mismatch": "has characters that are not allowed",
    "model_type": "must be a JSON object",
    "dict_type": "must be a JSON object",
    "list_type": "must be a JSON array",
    "bool_type": "must be true or false",
}
# Codes of our own validators: their message is already made for clients.
_OWN = frozenset({"unknown_plan", "unknown_state", "unknown_area_code", "changes_or_goal"})


def _field_error(error: Any) -> FieldError:
    code = error["type"]
    known = _MESSAGES.get(code, "is not valid")
    message = error["msg"] if code in _OWN else known.format_map(error.get("ctx") or {})
    return FieldError(_pointer(error["loc"]), code, message)


def validate_json(adapter: TypeAdapter[T], body: bytes) -> T:
    """The body as the adapter's type.

    Raises:
        MalformedJson: not JSON.
        InvalidInput: JSON of another shape, with a pointer to each fault.
        TooLarge: an array with too many elements.
    """
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        raise _problem(error) from error


def validate_many(adapter: TypeAdapter[T], body: bytes, *, max_values: int, max_members: int) -> T:
    """The body, an array of flat objects, as the adapter's type.

    An error of pydantic's keeps the input that it is about. From JSON it makes each its own copy, so that a few
    megabytes in one bad object hold everything up for seconds; of parsed values it keeps references.

    Args:
        max_values: more than a body that is in order can have.
        max_members: of one object; likewise.

    Raises:
        MalformedJson, InvalidInput, TooLarge: as `validate_json`.
    """
    # What stands between values, also within words: as good as counting them, and thousands of times as fast.
    if body.count(b",") + body.count(b"[") + body.count(b"{") > max_values:
        raise TooLarge("The body has more values than this address takes. Split it into several requests.")
    try:
        values = from_json(body)
    except ValueError as error:
        raise _malformed(str(error)) from error
    for position, value in enumerate(values if isinstance(values, list) else ()):
        if isinstance(value, dict) and len(value) > max_members:
            fault = FieldError(f"/{position}", "too_long", f"must not have more than {max_members} members")
            raise InvalidInput("One value is not valid; see 'errors'.", errors=[fault])
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        raise _problem(error) from error


def _malformed(reason: str) -> MalformedJson:
    return MalformedJson("The body is not valid JSON (RFC 8259).", errors=[FieldError("", "json_invalid", reason)])


def _problem(error: ValidationError) -> InvalidInput | MalformedJson | TooLarge:
    found = error.errors(include_url=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return _malformed(_where(error))
    if found[0]["type"] == "too_long" and not found[0]["loc"]:
        limit = found[0]["ctx"]["max_length"]
        return TooLarge(f"At most {limit:,} customers at once. Split them into several requests.")
    errors = [_field_error(each) for each in found]
    count = f"{len(errors)} values are" if len(errors) > 1 else "One value is"
    return InvalidInput(f"{count} not valid; see 'errors'.", errors=errors)


def _where(error: ValidationError) -> str:
    """The parser's own reason, which names a line and column and never the content."""
    return str(error.errors(include_url=False, include_input=False)[0].get("ctx", {}).get("error", "is not JSON"))
