"""The decision: what a churn probability and a lifetime value mean for a customer. Pure, and the only place for it.

The gateway applies it to single, batch and page requests alike; offline scoring applies the same function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal, NamedTuple

# Plain words, not an enumeration: they go into replies and rows as they are, without a conversion each.
Tier = Literal["Low", "Medium", "High"]
"""How likely a customer is to leave."""

Confidence = Literal["Very High", "High", "Moderate", "Low"]
"""How sure the tier is: not how far the probability is from one half."""

Interval = tuple[float, float]
"""Lower and upper end of a figure."""


PROBABILITY_DIGITS: Final = 6
USD_DIGITS: Final = 2
"""Figures are rounded to so many digits before it is decided: what is shown is what is decided on."""


@dataclass(frozen=True)
class Policy:
    """Where the tiers begin and which customers are of high value.

    Attributes:
        version: changes whenever a number or a text of this module does.
        medium_from, high_from: churn probabilities, in [0, 1], from which a customer is Medium or High.
        high_value_from_usd, top_value_from_usd: lifetime values; None as long as nobody knows them.
    """

    version: str = "2026-11"
    medium_from: float = 0.15
    high_from: float = 0.30
    high_value_from_usd: float | None = None
    top_value_from_usd: float | None = None


class Decision(NamedTuple):
    """What to do about one customer. Tier, confidence and value at risk are None when a model did not answer."""

    tier: Tier | None
    recommendation: str
    confidence: Confidence | None
    value_at_risk_usd: float | None


CRITICAL: Final = "CRITICAL: Executive intervention. Offer the premium retention package."
HIGH_PRIORITY: Final = "HIGH PRIORITY: Assign an account manager and make a targeted incentive within 24 hours."
PROACTIVE: Final = "PROACTIVE: Make a personal check-in call and offer loyalty rewards."
MONITOR: Final = "MONITOR: Send personalised offers and improve this customer's service."
NURTURE: Final = "NURTURE: Keep up VIP treatment and explore an upsell."
MAINTAIN: Final = "MAINTAIN: Continue standard engagement."
UNKNOWN_RISK: Final = "UNKNOWN: The churn risk is not known right now. Take no retention step yet; ask again shortly."
VALUE_NOT_KNOWN: Final = " The customer's value is not known right now; this advice rests on the risk alone."


def with_value_limits(policy: Policy, quantiles: Mapping[str, float]) -> Policy:
    """The policy with the limits of value that the operator did not set.

    Args:
        quantiles: of the lifetime values that the value model was trained on, by name ("0.75"); from its manifest.
    """
    return _with_limits(policy, quantiles.get("0.75"), quantiles.get("0.9"))


@lru_cache(maxsize=8)
def _with_limits(policy: Policy, high_value_usd: float | None, top_value_usd: float | None) -> Policy:
    return replace(
        policy,
        high_value_from_usd=high_value_usd if policy.high_value_from_usd is None else policy.high_value_from_usd,
        top_value_from_usd=top_value_usd if policy.top_value_from_usd is None else policy.top_value_from_usd,
    )


def tier_of(probability: float, policy: Policy) -> Tier:
    """The tier of a churn probability in [0, 1]; limits belong to the higher tier."""
    if probability >= policy.high_from:
        return "High"
    return "Medium" if probability >= policy.medium_from else "Low"


def confidence_of(interval: Interval, policy: Policy) -> Confidence:
    """How sure the tier is, by how many limits of the tiers lie within the interval of the probability.

    Both: Low. One: Moderate. None: High, and Very High when none would in an interval three times as wide either.
    """
    lower, upper = interval
    n_crossed = (lower < policy.medium_from <= upper) + (lower < policy.high_from <= upper)
    if n_crossed:
        return "Low" if n_crossed == 2 else "Moderate"
    width = upper - lower
    lower, upper = lower - width, upper + width
    is_close = lower < policy.medium_from <= upper or lower < policy.high_from <= upper
    return "High" if is_close else "Very High"


def _recommendation(tier: Tier, value_usd: float | None, policy: Policy) -> str:
    if value_usd is None:
        without_value: dict[Tier, str] = {"High": HIGH_PRIORITY, "Medium": MONITOR, "Low": MAINTAIN}
        return without_value[tier] + VALUE_NOT_KNOWN
    is_high_value = policy.high_value_from_usd is not None and value_usd >= policy.high_value_from_usd
    is_top_value = policy.top_value_from_usd is not None and value_usd >= policy.top_value_from_usd
    if tier == "High":
        return CRITICAL if is_high_value else HIGH_PRIORITY
    if tier == "Medium":
        return PROACTIVE if is_high_value else MONITOR
    return NURTURE if is_top_value else MAINTAIN


def decide(probability: float | None, interval: Interval | None, value_usd: float | None, policy: Policy) -> Decision:
    """Tier, advice and confidence for one customer.

    Args:
        probability: chance of leaving, calibrated, in [0, 1]; None when the churn model did not answer.
        interval: lower and upper end of what the probability may be; None likewise.
        value_usd: lifetime value in US dollars; None when the value model did not answer.
        policy: limits of the tiers and of high value.
    """
    if probability is None or interval is None:
        return Decision(None, UNKNOWN_RISK, None, None)
    tier = tier_of(probability, policy)
    return Decision(
        tier,
        _recommendation(tier, value_usd, policy),
        confidence_of(interval, policy),
        None if value_usd is None else round(probability * value_usd, USD_DIGITS),
    )
