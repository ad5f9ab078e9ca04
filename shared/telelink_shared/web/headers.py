"""A header of a request, for whoever looks at one or two of them."""

from __future__ import annotations

from starlette.types import Scope


def values_of(scope: Scope, name: bytes) -> list[str]:
    """Every value of a header, in the order they came in.

    Args:
        name: in lower case, as a server gives them.
    """
    return [value.decode("latin-1") for each, value in scope["headers"] if each == name]
