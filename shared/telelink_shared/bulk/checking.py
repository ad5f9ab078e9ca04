"""A chunk's rows as customers: the same rules, codes and words as those for a single one.

What is surely valid is seen a column at a time, in compiled code. Every other row is asked of `Customer` itself, so
that bulk and single can never differ.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Sequence
from math import nan
from typing import Any, Final

from pydantic import ValidationError

from telelink_shared.bulk.cells import number_of
from telelink_shared.bulk.table import ABSENT, CAMEL, CUSTOMER_ID, Checked, Chunk, Fault, Layout
from telelink_shared.customer import CATEGORIES, COLUMNS, LIMITS, USAGE, Customer, Limits, UnknownSpelling, row_of
from telelink_shared.field_errors import field_error

_UNSAFE_IN_IDS: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\ud800-\udfff]")
_MOST_ID_CHARACTERS: Final = 64
_OPTIONAL: Final = frozenset(USAGE)
_NAMES: Final = frozenset(CAMEL.values())
# Spellings that are remembered of a column. One with more has numbers that hardly ever come again.
_MOST_SPELLINGS: Final = 5_000


class Checker:
    """Tells a file's valid rows from others.

    Args:
        is_text: the values are those of a CSV file.
    """

    def __init__(self, layout: Layout, *, is_text: bool) -> None:
        self._layout = layout
        self._is_text = is_text
        self._cells = {
            column: _Cells(LIMITS[column], is_optional=column in _OPTIONAL, decimal_comma=layout.decimal_comma)
            for column in layout.positions
            if column in LIMITS
        }
        self._words = {column: _Words(column) for column in layout.positions if column in CATEGORIES}

    def check(self, chunk: Chunk) -> Checked:
        """The valid rows as columns, and what is wrong with the others."""
        doubtful: set[int] = set(chunk.faults)
        numbers: dict[str, list[float]] = {}
        words: dict[str, list[str]] = {}
        for column, cells in self._cells.items():
            values = chunk.columns[self._layout.positions[column]]
            numbers[column], bad = cells.of_text(values) if self._is_text else cells.of_values(values)
            doubtful.update(bad)
        for column, known in self._words.items():
            words[column], bad = known.of(chunk.columns[self._layout.positions[column]])
            doubtful.update(bad)
        ids: list[str | None] = [None] * chunk.n_rows
        if CUSTOMER_ID in self._layout.positions:
            ids, bad = _ids(chunk.columns[self._layout.positions[CUSTOMER_ID]], is_text=self._is_text)
            doubtful.update(bad)
        faults: dict[int, Sequence[Fault]] = {}
        for row in sorted(doubtful):
            customer = (chunk.faults[row],) if row in chunk.faults else self._customer(chunk, row)
            if not isinstance(customer, Customer):
                faults[row] = customer
                continue
            ids[row] = customer.customer_id
            for column, value in zip(COLUMNS, row_of(customer), strict=True):
                if column in numbers:
                    numbers[column][row] = nan if value is None else value
                elif column in words:
                    words[column][row] = value
        if not faults:
            arrays = {column: array("d", values) for column, values in numbers.items()}
            return Checked(chunk.n_rows, range(chunk.n_rows), arrays, words, ids, faults)
        good = [row for row in range(chunk.n_rows) if row not in faults]
        return Checked(
            chunk.n_rows,
            good,
            {column: array("d", map(values.__getitem__, good)) for column, values in numbers.items()},
            {column: list(map(spelled.__getitem__, good)) for column, spelled in words.items()},
            list(map(ids.__getitem__, good)),
            faults,
        )

    def _customer(self, chunk: Chunk, row: int) -> Customer | Sequence[Fault]:
        values = {column: chunk.columns[position][row] for column, position in self._layout.positions.items()}
        if self._is_text:
            decimal_comma = self._layout.decimal_comma
            values = {
                column: _number(value, decimal_comma=decimal_comma) if column in LIMITS else value or ABSENT
                for column, value in values.items()
            }
        fields = {CAMEL[column]: value for column, value in values.items() if value is not ABSENT}
        try:
            return Customer.model_validate(fields)
        except ValidationError as error:
            found = [field_error(each, _NAMES) for each in error.errors(include_url=False, include_input=False)]
            line = chunk.lines[row]
            return [Fault(line, each.pointer.removeprefix("/"), each.code, each.message) for each in found]


def _number(text: str, *, decimal_comma: bool) -> Any:
    """What a cell of a CSV file says; text that is no number stays, for `Customer` to refuse."""
    text = text.strip()
    if not text:
        return ABSENT
    number = number_of(text, decimal_comma=decimal_comma)
    return text if number is None else number


class _Cells(dict[str, float | None]):
    """A column of numbers: what each text in it stands for, None where that is not surely valid."""

    def __init__(self, limits: Limits, *, is_optional: bool, decimal_comma: bool) -> None:
        super().__init__()
        self._limits = limits
        self._is_optional = is_optional
        self._decimal_comma = decimal_comma

    def __missing__(self, text: str) -> float | None:
        number = _number(text, decimal_comma=self._decimal_comma)
        value: float | None = None
        if number is ABSENT:
            value = nan if self._is_optional else None
        elif isinstance(number, float) and self._is_within((number,)):
            value = number
        if len(self) < _MOST_SPELLINGS:
            self[text] = value
        return value

    def of_text(self, texts: Sequence[str]) -> tuple[list[float], Sequence[int]]:
        """The numbers, NaN where one is not known, and the rows in doubt."""
        if len(self) >= _MOST_SPELLINGS:
            everything = "".join(texts)
            # `float` also takes digits of other scripts and underscores.
            if everything.isascii() and "_" not in everything:
                plain: Iterable[str] = texts
                if self._decimal_comma and "," in everything:
                    plain = (text.replace(",", ".") for text in texts)
                try:
                    numbers = list(map(float, plain))
                except ValueError:
                    pass
                else:
                    if self._is_within(numbers):
                        return numbers, ()
        return _without_doubtful(list(map(self.__getitem__, texts)))

    def of_values(self, values: Sequence[Any]) -> tuple[list[float], Sequence[int]]:
        """The same of numbers."""
        types = set(map(type, values))
        if types <= {float, int}:
            try:
                numbers = list(map(float, values))
            except OverflowError:
                pass
            else:
                if self._is_within(numbers):
                    return numbers, ()
        return _without_doubtful([self._value(value) for value in values])

    def _value(self, value: Any) -> float | None:
        if value is None or value is ABSENT:
            return nan if self._is_optional else None
        # A boolean is no number.
        if type(value) not in (float, int) or not 0 <= value <= self._limits.at_most:
            return None
        number = float(value)
        return number if self._is_within((number,)) else None

    def _is_within(self, numbers: Sequence[float]) -> bool:
        # NaN hides from min and max, and not in a sum.
        return not numbers or (
            min(numbers) >= 0.0
            and max(numbers) <= self._limits.at_most
            and sum(numbers) >= 0.0
            and (not self._limits.whole or all(map(float.is_integer, numbers)))
        )


def _without_doubtful(values: Sequence[float | None]) -> tuple[list[float], Sequence[int]]:
    if None not in values:
        return values, ()  # type: ignore[return-value]  # just looked
    numbers = [nan if value is None else value for value in values]
    return numbers, [row for row, value in enumerate(values) if value is None]


class _Words(dict[Any, str]):
    """A column of words: the canonical one for each spelling, empty where there is none."""

    def __init__(self, column: str) -> None:
        super().__init__()
        self._canonical = CATEGORIES[column].canonical
        self._type: type | None = None

    def __missing__(self, value: Any) -> str:
        try:
            word = self._canonical(value)
        except UnknownSpelling:
            word = ""
        if len(self) < _MOST_SPELLINGS:
            self[value] = word
        return word

    def of(self, values: Sequence[Any]) -> tuple[list[str], Sequence[int]]:
        """The words, and the rows in doubt."""
        # 1, 1.0 and True are one key and not one value.
        types = set(map(type, values))
        if types != {self._type}:
            self.clear()
            self._type = types.pop() if len(types) == 1 else None
        if self._type is None or self._type in (list, dict):
            return [""] * len(values), range(len(values))
        words = list(map(self.__getitem__, values))
        return words, [row for row, word in enumerate(words) if not word] if "" in words else ()


def _ids(values: Sequence[Any], *, is_text: bool) -> tuple[list[str | None], Sequence[int]]:
    ids = [value or None for value in values] if is_text else list(map(_id, values))
    if _are_valid(ids):
        return ids, ()
    return ids, [row for row, value in enumerate(ids) if not _are_valid((value,))]


def _id(value: Any) -> Any:
    if value is ABSENT:
        return None
    return str(value) if type(value) is int else value


def _are_valid(ids: Iterable[Any]) -> bool:
    known = [value for value in ids if value is not None]
    if not known:
        return True
    if {*map(type, known)} != {str} or not all(known) or max(map(len, known)) > _MOST_ID_CHARACTERS:
        return False
    joined = "\n".join(known)
    return joined.count("\n") == len(known) - 1 and not _UNSAFE_IN_IDS.search(joined)
