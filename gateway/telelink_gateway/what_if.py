"""Which small changes, of those that an agent can make, would bring a customer to another risk tier. Pure.

Levers are the plans, service calls from now on, and the price of the bill; tenure and place are nobody's to change.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from telelink_shared.customer import CHARGES, MINUTES, Count, Customer, Plan
from telelink_shared.decision import Decision, Tier

# Of customers with the plan; what somebody who takes it up can be expected to use it for.
TYPICAL_MESSAGES: Final = 29
MAX_BILL_REDUCTION: Final = 0.5
BILL_REDUCTIONS: Final = (0.0, 0.05, 0.10, 0.15, 0.20, 0.25, 0.30)
_MOST_FEWER_CALLS: Final = 9
_TIERS: Final[Sequence[Tier]] = ("Low", "Medium", "High")


class Changes(BaseModel):
    """What an agent could change for a customer. Left out: stays as it is."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)

    international_plan: Plan | None = Field(default=None, description="Have the international plan, or not")
    voice_mail_plan: Plan | None = Field(
        default=None, description=f"Have the voice mail plan ({TYPICAL_MESSAGES} messages), or not (none)"
    )
    customer_service_calls: Count | None = Field(default=None, description="Service calls a month from now on")
    bill_reduction: Annotated[float, Field(strict=True, ge=0, le=MAX_BILL_REDUCTION)] | None = Field(
        default=None, description="Share by which the bill is lowered, told to the models as so much less use"
    )

    @property
    def levers(self) -> frozenset[str]:
        """Names of what is changed."""
        return frozenset(self.model_dump(exclude_none=True))

    @property
    def words(self) -> str:
        """The changes as advice: 'Drop the international plan and lower the bill by 10 %'."""
        parts = []
        if self.international_plan is not None:
            verb = "add" if self.international_plan == "yes" else "drop"
            parts.append(f"{verb} the international plan")
        if self.voice_mail_plan is not None:
            parts.append(f"{'add' if self.voice_mail_plan == 'yes' else 'drop'} the voice mail plan")
        if self.customer_service_calls is not None:
            calls = f"{self.customer_service_calls:.0f}"
            parts.append(f"bring service calls to {calls} a month by solving what they are about")
        if self.bill_reduction is not None:
            parts.append(f"lower the bill by {self.bill_reduction:.0%}")
        sentence = " and ".join(parts) or "change nothing"
        return sentence[0].upper() + sentence[1:]


def changed(customer: Customer, changes: Changes) -> Customer:
    """The customer as the changes would have it."""
    update: dict[str, Any] = changes.model_dump(exclude_none=True, exclude={"bill_reduction"})
    if changes.voice_mail_plan is not None:
        had_plan = customer.voice_mail_plan == "yes"
        update["number_of_vmail_messages"] = (
            0.0
            if changes.voice_mail_plan == "no"
            else customer.number_of_vmail_messages
            if had_plan
            else float(TYPICAL_MESSAGES)
        )
    if changes.bill_reduction is not None:
        for column in (*MINUTES, *CHARGES):
            value = getattr(customer, column)
            if value is not None:
                update[column] = value * (1.0 - changes.bill_reduction)
    return customer.model_copy(update=update)


def candidates(customer: Customer) -> list[Changes]:
    """Every combination of the levers that this customer has, the smallest changes first."""
    plans: Mapping[str, Literal["yes", "no"]] = {"yes": "no", "no": "yes"}
    calls = int(customer.customer_service_calls)
    is_billed = any(getattr(customer, column) is not None for column in (*MINUTES, *CHARGES))
    fewer = range(calls - 1, max(calls - 1 - _MOST_FEWER_CALLS, -1), -1)
    options = itertools.product(
        (None, plans[customer.international_plan]),
        (None, plans[customer.voice_mail_plan]),
        (None, *fewer),
        (None, *BILL_REDUCTIONS[1:]) if is_billed else (None,),
    )
    found = [
        Changes.model_construct(
            international_plan=international,
            voice_mail_plan=voice_mail,
            customer_service_calls=None if n_calls is None else float(n_calls),
            bill_reduction=reduction,
        )
        for international, voice_mail, n_calls, reduction in options
        if (international, voice_mail, n_calls, reduction) != (None, None, None, None)
    ]

    def effort(changes: Changes) -> tuple[int, float, float]:
        n_fewer = 0.0 if changes.customer_service_calls is None else calls - changes.customer_service_calls
        return len(changes.levers), changes.bill_reduction or 0.0, n_fewer

    return sorted(found, key=effort)


def smallest(tried: Sequence[tuple[Changes, Decision]], goal: Tier, *, most: int) -> list[int]:
    """Positions of the smallest changes that reach the goal or better; none that only adds to another one.

    Args:
        tried: changes, the smallest first, each with the decision that it would lead to.
    """
    good = set(_TIERS[: _TIERS.index(goal) + 1])
    chosen: list[int] = []
    for position, (changes, decision) in enumerate(tried):
        if decision.tier in good and not any(tried[other][0].levers <= changes.levers for other in chosen):
            chosen.append(position)
            if len(chosen) == most:
                break
    return chosen
