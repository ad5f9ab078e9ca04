"""From raw columns to the numbers a model sees. Training and serving call these same functions.

Three steps: `prepare` makes every spelling canonical and completes minutes from charges, `derived` adds what is
computed from several columns of a row, `encode` lays the result out as the matrix that an estimator was fitted on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from telelink_shared.artifact import Encoding
from telelink_shared.customer import (
    CATEGORIES,
    CHARGES,
    COLUMNS,
    MINUTES,
    PLAN_VALUES,
    RATES_USD_PER_MINUTE,
    USAGE_PERIODS,
    UnknownSpelling,
)

# None stands for what is not known.
_NUMBER_TYPES: Final = frozenset({int, float, type(None)})
_ONE_BY_ONE: Final = frozenset({list, tuple})
# Beyond this nothing is told about a customer, and products of numbers would leave the range of float32.
_LARGEST: Final = 1e9

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]

NUMBERS: Final = tuple(column for column in COLUMNS if column not in CATEGORIES)
"""Raw columns that hold numbers."""


class BadColumn(ValueError):
    """A column that cannot be used.

    Attributes:
        column: the raw column's name.
        n_rows: how many rows are at fault.
        reason: what a good value looks like; never repeats a value.
    """

    def __init__(self, column: str, reason: str, *, n_rows: int) -> None:
        super().__init__(f"{column}: {reason} ({n_rows} {'row' if n_rows == 1 else 'rows'})")
        self.column = column
        self.reason = reason
        self.n_rows = n_rows


@dataclass(frozen=True)
class Rows:
    """Customers as columns, spelled canonically.

    Attributes:
        n_rows: number of customers.
        numbers: float64 arrays of shape (n_rows,); NaN where a value is not known.
        codes: for each category column, positions in its list of values; shape (n_rows,).
    """

    n_rows: int
    numbers: Mapping[str, Floats]
    codes: Mapping[str, Codes]

    def take(self, index: NDArray[Any]) -> Rows:
        """The rows at `index` (positions or a mask)."""
        numbers = {name: values[index] for name, values in self.numbers.items()}
        codes = {name: values[index] for name, values in self.codes.items()}
        return Rows(len(next(iter(codes.values()))), numbers, codes)


@dataclass(frozen=True)
class Words:
    """A column of few distinct values, each of which is looked at once.

    Attributes:
        distinct: the values.
        positions: which of them each row has; shape (n_rows,).
    """

    distinct: tuple[object, ...]
    positions: NDArray[np.integer[Any]]

    def __len__(self) -> int:
        return len(self.positions)


Column = Sequence[Any] | Floats | Words
"""A raw column: values one by one, or in one of the two forms that take no work for each of them."""


@cache
def _positions(column: str) -> dict[str, int]:
    return {value: position for position, value in enumerate(CATEGORIES[column].values)}


def _codes(column: str, values: Column) -> Codes:
    positions = _positions(column)
    try:
        # Canonical words, which the gateway sends, need no more than this look-up.
        return np.fromiter(map(positions.__getitem__, values), dtype=np.intp, count=len(values))  # type: ignore[arg-type]
    except (KeyError, TypeError):
        return _codes_of_words(column, values if isinstance(values, Words) else words_of(values))


def words_of(values: Sequence[object] | NDArray[Any]) -> Words:
    """The distinct values among these; what is no word, number or truth value becomes None."""
    if isinstance(values, np.ndarray) and values.dtype != np.object_:
        distinct, inverse = np.unique(values, return_inverse=True)
        return Words(tuple(distinct.tolist()), inverse)
    plain = [value if isinstance(value, (str, int, float, bool)) else None for value in values]
    places = {value: place for place, value in enumerate(dict.fromkeys(plain))}
    return Words(tuple(places), np.fromiter(map(places.__getitem__, plain), dtype=np.intp, count=len(plain)))


def _codes_of_words(column: str, words: Words) -> Codes:
    category, positions = CATEGORIES[column], _positions(column)
    codes, reason = np.full(len(words.distinct), -1, dtype=np.intp), ""
    for place, word in enumerate(words.distinct):
        try:
            codes[place] = positions[category.canonical(word)]
        except UnknownSpelling as error:
            reason = str(error)
    found: Codes = codes[words.positions]
    # Of what is distinct not everything need occur.
    if reason and (n_bad := int((found < 0).sum())):
        raise BadColumn(column, reason, n_rows=n_bad)
    return found


def _too_large(column: str, *, n_rows: int) -> BadColumn:
    return BadColumn(column, f"must be numbers of at most {_LARGEST:,.0f}", n_rows=n_rows)


def _bad_number(raw: Mapping[str, Sequence[Any]]) -> BadColumn:
    """The first of these columns that holds something else than numbers of a sensible size."""
    for column, values in raw.items():
        if bad := sum(type(value) not in _NUMBER_TYPES for value in values):
            return BadColumn(column, "must be numbers", n_rows=bad)
        if bad := sum(value is not None and abs(value) > _LARGEST for value in values):
            return _too_large(column, n_rows=bad)
    raise AssertionError("no column is at fault")


def _array(column: str, values: Column) -> Floats:
    if isinstance(values, Words):
        raise BadColumn(column, "must be numbers", n_rows=len(values))
    if not isinstance(values, np.ndarray):
        return _numbers_one_by_one({column: values})[column]
    if n_bad := int((np.abs(values) > _LARGEST).sum()):
        raise _too_large(column, n_rows=n_bad)
    return values


def _numbers(raw: Mapping[str, Column]) -> dict[str, Floats]:
    if set(map(type, raw.values())) <= _ONE_BY_ONE:
        return _numbers_one_by_one(raw)  # type: ignore[arg-type]
    return {column: _array(column, values) for column, values in raw.items()}


def _numbers_one_by_one(raw: Mapping[str, Sequence[object]]) -> dict[str, Floats]:
    """All columns in one go: for a few rows numpy takes longer to begin than to do."""
    if not raw:
        return {}
    # numpy alone would take words and truth values for numbers too.
    if not set(map(type, chain.from_iterable(raw.values()))) <= _NUMBER_TYPES:
        raise _bad_number(raw)
    try:
        columns = np.array(list(raw.values()), dtype=np.float64)
    except OverflowError as error:
        raise _bad_number(raw) from error
    if (np.abs(columns) > _LARGEST).any():  # NaN is not larger than anything
        raise _bad_number(raw)
    return dict(zip(raw, columns, strict=True))


def prepare(raw: Mapping[str, Column], *, n_rows: int) -> Rows:
    """Canonical columns from raw ones.

    Args:
        raw: values by column name, each of length `n_rows`; None (in a list) or NaN where an optional value is
            missing, and optional columns may be left out. Arrays are not copied, and must not be changed.
        n_rows: number of customers.

    Raises:
        BadColumn: a value that is no spelling of the column's values, or no number of a sensible size.
    """
    given = _numbers({name: raw[name] for name in NUMBERS if name in raw})
    unknown = np.full(n_rows, np.nan)
    numbers = {name: given.get(name, unknown) for name in NUMBERS}
    for period, minutes, charge in zip(USAGE_PERIODS, MINUTES, CHARGES, strict=True):
        if charge in raw:
            from_charge = numbers[charge] / RATES_USD_PER_MINUTE[period]
            numbers[minutes] = np.where(np.isnan(numbers[minutes]), from_charge, numbers[minutes])
    codes = {name: _codes(name, raw[name]) for name in CATEGORIES if name in raw}
    return Rows(n_rows, numbers, codes)


def _charges_usd(rows: Rows, periods: Sequence[str]) -> Floats:
    total: Floats = sum(
        (RATES_USD_PER_MINUTE[period] * rows.numbers[f"total_{period}_minutes"] for period in periods),
        start=np.zeros(rows.n_rows),
    )
    return total


def bill_usd(rows: Rows) -> Floats:
    """The month's bill: minutes times their fixed rates, in US dollars; NaN where a period's usage is not known."""
    return _charges_usd(rows, USAGE_PERIODS)


def _without_voice_mail_usd(rows: Rows, periods: Sequence[str]) -> Floats:
    """What customers without the voice mail plan pay in these periods, 0 for the others, in US dollars.

    In the public data a large bill makes leave almost only those without that plan; a forest finds this in one split.
    """
    has_no_plan = rows.codes["voice_mail_plan"] == PLAN_VALUES.index("no")
    paid: Floats = has_no_plan * _charges_usd(rows, periods)
    return paid


def _has_international_plan(rows: Rows) -> Floats:
    has_plan: Floats = (rows.codes["international_plan"] == PLAN_VALUES.index("yes")).astype(np.float64)
    return has_plan


def unused_international_plan(rows: Rows) -> Floats:
    """How idle an international plan lies: 1 / (1 + international calls), in (0, 1]; 0 without the plan.

    In the public data those who pay for the plan and make two calls or fewer leave.
    """
    return _has_international_plan(rows) / (1.0 + rows.numbers["total_intl_calls"])


def plan_intl_minutes(rows: Rows) -> Floats:
    """International minutes of those with the plan, 0 for the others; NaN where the minutes are not known.

    In the public data holders of the plan with more than 13 minutes leave; a forest finds this in one split.
    """
    return _has_international_plan(rows) * rows.numbers["total_intl_minutes"]


_PARTS: Final = [periods for length in range(1, len(USAGE_PERIODS)) for periods in combinations(USAGE_PERIODS, length)]

DERIVED: Final[Mapping[str, Callable[[Rows], Floats]]] = {
    "bill_usd": bill_usd,
    "bill_without_voice_mail_usd": partial(_without_voice_mail_usd, periods=USAGE_PERIODS),
    "plan_intl_minutes": plan_intl_minutes,
    "unused_international_plan": unused_international_plan,
    # Parts of the bill, for customers of whom not every period is known: `day_eve_usd` and so on.
    **{f"{'_'.join(periods)}_usd": partial(_charges_usd, periods=periods) for periods in _PARTS},
    **{
        f"{'_'.join(periods)}_without_voice_mail_usd": partial(_without_voice_mail_usd, periods=periods)
        for periods in _PARTS
    },
}
"""Features computed from several columns of the same row, by name."""


def feature(rows: Rows, name: str) -> Floats:
    """One numeric feature: a raw column or a derived one; shape (n_rows,)."""
    return DERIVED[name](rows) if name in DERIVED else rows.numbers[name]


def table(rows: Rows, *, numeric: Sequence[str], categorical: Sequence[str]) -> Floats:
    """Features before scaling: numbers in their own units, then one position for each category column.

    What scikit-learn's transformers are fitted on.

    Returns:
        shape (n_rows, len(numeric) + len(categorical)).
    """
    columns = [feature(rows, name) for name in numeric] + [rows.codes[name].astype(np.float64) for name in categorical]
    return np.column_stack(columns) if columns else np.zeros((rows.n_rows, 0))


def encode(rows: Rows, encoding: Encoding) -> Floats:
    """The matrix that the fitted estimator takes: scaled numbers, then one column for each category value.

    The same arithmetic, in float64, as scikit-learn's StandardScaler and OneHotEncoder in that order.

    Args:
        rows: prepared customers.
        encoding: the numbers fitted in training.

    Returns:
        shape (n_rows, n_features).
    """
    start = len(encoding.numeric)
    matrix = np.zeros((rows.n_rows, encoding.n_features))
    if encoding.numeric:
        # As rows of a matrix: for a few customers numpy is done with it sooner.
        numbers = np.array([feature(rows, name) for name in encoding.numeric])
        numbers -= np.array(encoding.mean)[:, np.newaxis]
        numbers /= np.array(encoding.scale)[:, np.newaxis]
        matrix[:, :start] = numbers.T
    every_row = np.arange(rows.n_rows)
    for name in encoding.categorical:
        matrix[every_row, start + rows.codes[name]] = 1.0
        start += len(CATEGORIES[name].values)
    return matrix
