"""What pydantic found, in words of our own: none of them repeats a value, or a name that is not ours."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Any, Final

from telelink_shared.problem import FieldError

# The braces are filled from the limits.
_MESSAGES: Final = {
    "missing": "is required",
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
_OWN: Final = frozenset({"unknown_plan", "unknown_state", "unknown_area_code", "changes_or_goal"})
# Of a name that is not known, so much is compared with those that are.
_COMPARED_CHARACTERS: Final = 64


def field_error(error: Any, names: Collection[str]) -> FieldError:
    """One of `ValidationError.errors()`.

    Args:
        names: of members that can be told to a client; others are the client's own.
    """
    code, location = error["type"], error["loc"]
    if code == "extra_forbidden":
        message = _unknown_name(str(location[-1]), names)
    elif code in _OWN:
        message = error["msg"]
    else:
        message = _MESSAGES.get(code, "is not valid").format_map(error.get("ctx") or {})
    return FieldError(pointer(location, names), code, message)


def pointer(location: tuple[int | str, ...], names: Collection[str]) -> str:
    """The JSON pointer, as far as it consists of what is ours: a member that is not known is the client's own word."""
    found = ""
    for part in location:
        if isinstance(part, str) and part not in names:
            break
        found += f"/{part}"
    return found


def _unknown_name(name: str, names: Collection[str]) -> str:
    """Never the name itself: it is input. The one that was probably meant is ours."""
    close = difflib.get_close_matches(name[:_COMPARED_CHARACTERS], names, n=1, cutoff=0.75)
    return "has a field that this request does not take" + (f"; did you mean {close[0]}?" if close else "")
