"""What the models say about a chunk's customers, and what to do about each: by the same code as for a single one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import repeat
from typing import Final

from telelink_shared.bulk.table import Decided
from telelink_shared.decision import PROBABILITY_DIGITS, USD_DIGITS, Policy, decide

CHURN_FIGURES: Final = ("churn_probability", "churn_lower", "churn_upper")
CLV_FIGURES: Final = ("estimated_clv", "clv_lower", "clv_upper")
"""Outputs of the two models that a result rests on."""


NO_ANSWER_CODE: Final = "no_valid_answer"
NO_ANSWER: Final = "the models have no valid answer for this customer"
"""What is said of a row that is in order, where an answer about it cannot be."""


def decide_all(answers: Mapping[str, Iterable[float]], policy: Policy) -> Decided:
    """Round and decide.

    Args:
        answers: the models' figures by output name, one for each customer.
        policy: with the limits in force.
    """
    probabilities, lower, upper = (_rounded(answers[name], PROBABILITY_DIGITS) for name in CHURN_FIGURES)
    values, lower_usd, upper_usd = (_rounded(answers[name], USD_DIGITS) for name in CLV_FIGURES)
    decisions = [
        decide(*figures, policy) for figures in zip(probabilities, zip(lower, upper, strict=True), values, strict=True)
    ]
    return Decided(probabilities, values, lower_usd, upper_usd, decisions)


def _rounded(values: Iterable[float], digits: int) -> list[float]:
    return list(map(round, values, repeat(digits)))
