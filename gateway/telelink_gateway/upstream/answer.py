"""What a model service is asked and what it answers, checked value by value: nothing is taken on trust."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from telelink_gateway.upstream.failure import Failure
from telelink_shared.customer import CATEGORIES, COLUMNS, USAGE, Row
from telelink_shared.inference import InferResponse, ModelMetadata
from telelink_shared.reasons import GROUP_NAMES


@dataclass(frozen=True)
class Inputs:
    """Customers as the protocol's `inputs`, serialised once for every service that is asked.

    Attributes:
        data: the tensors' bytes, where they are not in the JSON; see `binary.py`.
    """

    json: bytes
    n_rows: int
    data: bytes | None = None


def inputs_of(rows: Sequence[Row]) -> Inputs:
    """One tensor for each column that any of these customers has."""
    n_rows = len(rows)
    tensors = [
        {
            "name": column,
            "shape": [n_rows],
            "datatype": "BYTES" if column in CATEGORIES else "FP64",
            "data": values,
        }
        for column, values in zip(COLUMNS, zip(*rows, strict=True), strict=True)
        if column not in USAGE or values.count(None) < n_rows
    ]
    return Inputs(to_json(tensors), n_rows)


_NUMBERS: Final = frozenset({float, int})
_WORDS: Final = frozenset({str})


@dataclass(frozen=True)
class Expected:
    """What an output of a reply must be.

    Attributes:
        name: of the tensor.
        lower, upper: every number lies between them; None for a tensor of words.
        may_be_unknown: null is a valid value.
        width: values for each customer.
        digits: decimal places that are shown and decided on; None for all that there are.
        between: names of two other outputs; the value lies between theirs.
    """

    name: str
    lower: float | None = None
    upper: float | None = None
    may_be_unknown: bool = False
    width: int = 1
    digits: int | None = None
    between: tuple[str, str] | None = None

    def invalid_rows(self, values: Sequence[Any]) -> list[int]:
        """Positions of values that cannot be."""
        # A few passes in compiled code over all of them; which are at fault is asked only where one is.
        if self._are_all_valid(values):
            return []
        if self.lower is None or self.upper is None:
            return [position // self.width for position, value in enumerate(values) if type(value) is not str]
        lower, upper, none_is_fine = self.lower, self.upper, self.may_be_unknown
        return [
            position // self.width
            for position, value in enumerate(values)
            # NaN fails the comparison; a boolean is no number here.
            if not (lower <= value <= upper if type(value) in _NUMBERS else none_is_fine and value is None)
        ]

    def rounded(self, values: Sequence[Any]) -> Sequence[Any]:
        """The numbers with no more digits than are shown; whatever is not a number as it is."""
        if self.digits is None:
            return values
        digits = self.digits
        return [round(value, digits) if type(value) in _NUMBERS else value for value in values]

    def _are_all_valid(self, values: Sequence[Any]) -> bool:
        types = set(map(type, values))
        if self.lower is None or self.upper is None:
            return types <= _WORDS
        if self.may_be_unknown and NoneType in types:
            types.discard(NoneType)
            values = [value for value in values if value is not None]
        if not types <= _NUMBERS:
            return False
        # NaN hides from the first two, and not in a sum.
        return not values or (self.lower <= min(values) and max(values) <= self.upper and not math.isnan(sum(values)))


_NO_LIMIT: Final = sys.float_info.max
REASONS: Final = (
    Expected("reasons", -_NO_LIMIT, _NO_LIMIT, width=len(GROUP_NAMES)),
    Expected("reasons_baseline", -_NO_LIMIT, _NO_LIMIT),
)
"""What each group of fields adds to a model's output, and what there is to add it to."""


class Answer(NamedTuple):
    """A checked reply of a model service.

    Attributes:
        metadata: of the version that answered.
        columns: values by output name, rounded, one for each customer; of the reasons as many as there are groups.
        invalid: rows that have a value which cannot be.
        first: where in the columns the first of the customers is whom this answer is for.
    """

    model: str
    version: str
    metadata: ModelMetadata
    columns: Mapping[str, Sequence[Any]]
    invalid: frozenset[int] = frozenset()
    first: int = 0

    def of_row(self, position: int) -> Answer:
        """The answer for one of the customers."""
        return Answer(self.model, self.version, self.metadata, self.columns, first=position)


def _out_of_order(
    columns: Mapping[str, Sequence[Any]], name: str, between: tuple[str, str], invalid: Collection[int]
) -> list[int]:
    """Rows whose value does not lie between the two others, of those whose values can be compared at all."""
    lower, upper = between
    figures = zip(columns[lower], columns[name], columns[upper], strict=True)
    return [
        row for row, (least, value, most) in enumerate(figures) if row not in invalid and not least <= value <= most
    ]


def checked_columns(
    reply: InferResponse, expected: Sequence[Expected], n_rows: int
) -> tuple[dict[str, Sequence[Any]], frozenset[int]]:
    """The expected outputs by name, and the rows in which one of them cannot be.

    Raises:
        Failure: an output is missing or has another number of rows.
    """
    tensors = {tensor.name: tensor.data for tensor in reply.outputs}
    columns: dict[str, Sequence[Any]] = {}
    invalid: set[int] = set()
    for output in expected:
        values = tensors.get(output.name)
        if values is None or len(values) != n_rows * output.width:
            raise Failure("rows", f"output {output.name} is missing or has another number of rows")
        columns[output.name] = values
        invalid.update(output.invalid_rows(values))
    for output in expected:
        if output.between is not None:
            invalid.update(_out_of_order(columns, output.name, output.between, invalid))
    return {output.name: output.rounded(columns[output.name]) for output in expected}, frozenset(invalid)
