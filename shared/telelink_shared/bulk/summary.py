"""What a whole file comes to: customers and value at risk by tier and by state. Sums are of whole cents, and exact."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel

from telelink_shared.bulk.table import Scored
from telelink_shared.decision import Tier


class Group(BaseModel):
    """Some customers together."""

    customers: int = 0
    high_risk_customers: int = 0
    value_at_risk_cents: int = 0

    def add(self, tier: Tier | None, cents: int) -> None:
        """Count one more."""
        self.customers += 1
        self.high_risk_customers += tier == "High"
        self.value_at_risk_cents += cents

    def join(self, other: Group) -> None:
        """Count others too."""
        self.customers += other.customers
        self.high_risk_customers += other.high_risk_customers
        self.value_at_risk_cents += other.value_at_risk_cents


class Summary(BaseModel):
    """Counts and sums so far, by what a group has in common."""

    tiers: dict[str, Group] = {}
    states: dict[str, Group] = {}

    def plus(self, scored: Scored) -> Self:
        """The same with a further chunk."""
        more = self.model_copy(deep=True)
        for state, decision in zip(scored.checked.words["state"], scored.decided.decisions, strict=True):
            cents = in_cents(decision.value_at_risk_usd)
            more.tiers.setdefault(str(decision.tier), Group()).add(decision.tier, cents)
            more.states.setdefault(state, Group()).add(decision.tier, cents)
        return more

    def join(self, other: Summary) -> None:
        """Count those of another part of the file too."""
        for mine, theirs in ((self.tiers, other.tiers), (self.states, other.states)):
            for name, group in theirs.items():
                mine.setdefault(name, Group()).join(group)


def in_cents(usd: float | None) -> int:
    """Dollars, which are rounded to cents already, as whole cents."""
    return round((usd or 0.0) * 100)
