"""Values as text, for people and spreadsheets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from pydantic_core import to_json

from telelink_shared.bulk.table import ABSENT, Fault

# Unlike Python's own idea of a number without other scripts' digits, underscores or infinity.
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

# A spreadsheet takes a cell that begins like this for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
FORMULAS: Final = re.compile(r"(?:^|\n)[=+\-@\t\r]")
"""Finds whether one of many cells, joined by line feeds, may be one."""


def text_of(value: object) -> str:
    """A value as a cell of text."""
    if isinstance(value, str):
        return value
    if value is None or value is ABSENT:
        return ""
    text = to_json(value, bytes_mode="base64").decode()
    return text[1:-1] if text.startswith('"') else text


def number_of(text: str, *, decimal_comma: bool = False) -> float | None:
    """The number that a text is; None where it is none.

    Args:
        decimal_comma: a comma is a decimal point too. Neither parts thousands: what has two of them is no number.
    """
    plain = text.replace(",", ".") if decimal_comma else text
    return float(plain) if _NUMBER.fullmatch(plain) else None


def harmless(text: str, *, decimal_comma: bool = False) -> str:
    """So that no spreadsheet runs it: text that begins like a formula and is no number gets an apostrophe before it.

    Args:
        decimal_comma: see `number_of`.
    """
    if text.startswith(_FORMULA) and number_of(text, decimal_comma=decimal_comma) is None:
        return f"'{text}"
    return text


def said(faults: Sequence[Fault]) -> str:
    """What is wrong with a row, in one line."""
    return "; ".join(f"{fault.field} {fault.reason}".strip() for fault in faults)
