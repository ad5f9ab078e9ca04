"""Why a model answers what it answers: exact Shapley values over nine groups of fields.

A coalition is a set of groups that have the customer's values while the other groups have those of a stated reference
customer. A group's contribution is what its joining adds, averaged over all orders in which the groups can join.
With nine groups all 512 coalitions are computed, so nothing is sampled.
Source: Shapley 1953; Lundberg, Lee 2017 for models.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from telelink_shared.features import Floats, Rows
from telelink_shared.reasons import GROUPS

Answer = Callable[[Rows], Floats]
"""What is explained: from customers to one number each; pure."""

_N_GROUPS: Final = len(GROUPS)
_COALITIONS: Final = np.arange(2**_N_GROUPS)
_BIT: Final = 1 << np.arange(_N_GROUPS)
# 16 customers are 8,192 rows: about 4 MB with their encoded matrices, however many customers are asked about.
_CHUNK: Final = 16


def _weights() -> Floats:
    """How much a group's joining a coalition counts, by the coalition's size."""
    n = _N_GROUPS
    return np.array([factorial(size) * factorial(n - size - 1) / factorial(n) for size in range(n)])


_WITHOUT: Final = [_COALITIONS[_COALITIONS & bit == 0] for bit in _BIT]
_WEIGHT_OF: Final = [_weights()[np.bitwise_count(without)] for without in _WITHOUT]


def _differing(rows: Rows, reference: Rows) -> NDArray[np.intp]:
    """Bits of the groups in which each customer has any other value than the reference customer; shape (n_rows,)."""
    bits = np.zeros(rows.n_rows, dtype=np.intp)
    for bit, group in zip(_BIT, GROUPS, strict=True):
        for column in group.columns:
            if column in rows.codes:
                bits[rows.codes[column] != reference.codes[column]] |= bit
            elif column in rows.numbers:
                values = rows.numbers[column]
                bits[(values != reference.numbers[column]) & ~np.isnan(values)] |= bit
    return bits


def _mixed(rows: Rows, reference: Rows, coalitions: NDArray[np.intp]) -> Rows:
    """Customers of whom only the groups of a coalition stay; what is not known of a customer stays unknown."""
    numbers, codes = dict(rows.numbers), dict(rows.codes)
    for bit, group in zip(_BIT, GROUPS, strict=True):
        stays = coalitions & bit != 0
        for column in group.columns:
            if column in codes:
                codes[column] = np.where(stays, codes[column], reference.codes[column])
            elif column in numbers:
                values = numbers[column]
                numbers[column] = np.where(stays | np.isnan(values), values, reference.numbers[column])
    return Rows(rows.n_rows, numbers, codes)


def _values(rows: Rows, reference: Rows, answer: Answer) -> Floats:
    """The answer for every coalition of every customer; shape (n_rows, 512)."""
    n_coalitions = len(_COALITIONS)
    # Coalitions that differ only in groups where the customer equals the reference are the same row: asked once.
    effective = _COALITIONS & _differing(rows, reference)[:, np.newaxis]
    keys = np.arange(rows.n_rows)[:, np.newaxis] * n_coalitions + effective
    distinct, position = np.unique(keys, return_inverse=True)
    customer, coalition = np.divmod(distinct, n_coalitions)
    answers = answer(_mixed(rows.take(customer), reference, coalition))
    return answers[position].reshape(rows.n_rows, n_coalitions)


def contributions(rows: Rows, reference: Rows, answer: Answer) -> tuple[Floats, Floats]:
    """What each group of fields adds to a customer's answer, against the reference customer.

    Args:
        rows: the customers.
        reference: one customer of whom everything is known.
        answer: computes any of them, all in the same way.

    Returns:
        contributions of shape (n_rows, n_groups), in the order of `reasons.GROUPS`, and the answer for the reference
        customer, shape (n_rows,); together they add up to the answer for the customer.
    """
    shares = np.zeros((rows.n_rows, _N_GROUPS))
    baseline = np.zeros(rows.n_rows)
    for start in range(0, rows.n_rows, _CHUNK):
        chunk = np.arange(start, min(start + _CHUNK, rows.n_rows))
        values = _values(rows.take(chunk), reference, answer)
        baseline[chunk] = values[:, 0]
        for group, (without, weight) in enumerate(zip(_WITHOUT, _WEIGHT_OF, strict=True)):
            shares[chunk, group] = (values[:, without | _BIT[group]] - values[:, without]) @ weight
    return shares, baseline
