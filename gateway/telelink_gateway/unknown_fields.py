"""Which fields that a customer does not have would sharpen the answer most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydantic.alias_generators import to_camel

from telelink_shared.customer import CHARGES, COLUMNS, MINUTES, Row

_CHARGE_OF: Final = dict(zip(MINUTES, CHARGES, strict=True))


def would_help(variants: Sequence[Any], answered_by: str, row: Row) -> list[str]:
    """Names, as the API spells them, of the fewest fields that let a better variant of the model answer.

    Args:
        variants: of the model's metadata, best first: `name`, and `needs`, raw columns that must be known.
        answered_by: the variant that answered.
        row: the customer.
    """
    known = {column for column, value in zip(COLUMNS, row, strict=True) if value is not None}
    # A charge stands in for its minutes.
    known |= {minutes for minutes, charge in _CHARGE_OF.items() if charge in known}
    better = []
    for variant in variants:
        if variant["name"] == answered_by:
            break
        better.append([column for column in variant["needs"] if column not in known])
    # The first of the shortest: the best of those that ask for least.
    return [to_camel(column) for column in min(better, key=len, default=[])]
