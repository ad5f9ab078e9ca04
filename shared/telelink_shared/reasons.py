"""Why a model says what it says, in words: nine groups of fields, and a sentence for the contribution of each.

A model service computes the contributions (`serving/reasons.py`); whoever shows them takes names and words from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from telelink_shared.customer import RATES_USD_PER_MINUTE

Values = Mapping[str, str | float | None]
"""One customer's raw columns in canonical spelling; None or absent where a value is not known."""


@dataclass(frozen=True)
class _Phrase:
    """The grammatical subject of a sentence."""

    text: str
    is_plural: bool = False


def _count(number: float, noun: str) -> _Phrase:
    """'1 service call', '4 service calls', 'no service calls', '180 minutes'."""
    shown = "no" if number == 0 else f"{number:,.0f}"
    return _Phrase(f"{shown} {noun}" if shown == "1" else f"{shown} {noun}s", is_plural=shown != "1")


def _number(customer: Values, column: str) -> float:
    value = customer[column]
    assert isinstance(value, (int, float)), column
    return float(value)


def _international_plan(customer: Values) -> _Phrase:
    return _Phrase("the international plan" if customer["international_plan"] == "yes" else "no international plan")


def _voice_mail(customer: Values) -> _Phrase:
    if customer["voice_mail_plan"] == "no":
        return _Phrase("no voice mail plan")
    return _Phrase(f"the voice mail plan with {_count(_number(customer, 'number_of_vmail_messages'), 'message').text}")


def _minutes(customer: Values, period: str) -> float | None:
    minutes, charge = customer.get(f"total_{period}_minutes"), customer.get(f"total_{period}_charge")
    if minutes is None and charge is not None:
        return float(charge) / RATES_USD_PER_MINUTE[period]
    return None if minutes is None else float(minutes)


def _use(period: str, *, adjective: str = "", when: str = "") -> Callable[[Values], _Phrase]:
    def phrase(customer: Values) -> _Phrase:
        n_calls, minutes = _number(customer, f"total_{period}_calls"), _minutes(customer, period)
        if minutes is None:
            calls = _count(n_calls, f"{adjective}call")
            return _Phrase(calls.text + when, calls.is_plural)
        spoken = _count(minutes, f"{adjective}minute")
        return _Phrase(f"{spoken.text}{when} in {_count(n_calls, 'call').text}", spoken.is_plural)

    return phrase


def _service_calls(customer: Values) -> _Phrase:
    return _count(_number(customer, "customer_service_calls"), "service call")


def _tenure(customer: Values) -> _Phrase:
    return _Phrase(f"a tenure of {_count(_number(customer, 'account_length'), 'day').text}")


def _place(customer: Values) -> _Phrase:
    return _Phrase(f"living in {customer['state']}, area code {customer['area_code']},")


@dataclass(frozen=True)
class Group:
    """Fields that are one reason together.

    Attributes:
        name: for programs.
        title: for people.
        columns: raw columns.
        phrase: names this customer's values, as the subject of a sentence.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    phrase: Callable[[Values], _Phrase]


def _use_columns(period: str) -> tuple[str, ...]:
    return tuple(f"total_{period}_{what}" for what in ("calls", "minutes", "charge"))


GROUPS: Final = (
    Group("international_plan", "International plan", ("international_plan",), _international_plan),
    Group("voice_mail", "Voice mail", ("voice_mail_plan", "number_of_vmail_messages"), _voice_mail),
    Group("day", "Use by day", _use_columns("day"), _use("day", when=" by day")),
    Group("evening", "Use in the evening", _use_columns("eve"), _use("eve", when=" in the evening")),
    Group("night", "Use by night", _use_columns("night"), _use("night", when=" by night")),
    Group("international_use", "International use", _use_columns("intl"), _use("intl", adjective="international ")),
    Group("service_calls", "Calls to customer service", ("customer_service_calls",), _service_calls),
    Group("tenure", "Tenure", ("account_length",), _tenure),
    Group("place", "State and area code", ("state", "area_code"), _place),
)
"""In the order in which model services give their contributions."""

GROUP_NAMES: Final = tuple(group.name for group in GROUPS)


def _points(contribution: float) -> str:
    points = round(abs(contribution) * 100, 1)
    shown = f"{points:.0f}" if points >= 1 else f"{points:g}"
    return "" if points == 0 else f"{shown} point{'' if shown == '1' else 's'}"


def _dollars(contribution: float) -> str:
    dollars = round(abs(contribution))
    return "" if dollars == 0 else f"${dollars:,}"


@dataclass(frozen=True)
class Effect:
    """What contributions are about.

    Attributes:
        noun: what is raised or lowered.
        amount: a contribution's size in words; empty when it is too small to be told.
    """

    noun: str
    amount: Callable[[float], str]


RISK: Final = Effect("risk", _points)
"""Contributions to a probability, told in points of a hundred."""
VALUE: Final = Effect("value", _dollars)
"""Contributions in US dollars."""

_GROUP_BY_NAME: Final = {group.name: group for group in GROUPS}


def sentence(group: str, customer: Values, contribution: float, effect: Effect) -> str:
    """A contribution in plain English: '4 service calls raise the risk by 31 points'.

    Args:
        group: one of `GROUP_NAMES`.
        customer: whom it is about.
        contribution: in the model's own unit: a probability for `RISK`, US dollars for `VALUE`.
    """
    subject = _GROUP_BY_NAME[group].phrase(customer)
    amount = effect.amount(contribution)
    ending = "" if subject.is_plural else "s"
    verb = "hardly change" if not amount else "raise" if contribution > 0 else "lower"
    by = f" by {amount}" if amount else ""
    return f"{subject.text[0].upper()}{subject.text[1:]} {verb}{ending} the {effect.noun}{by}"
