"""Which fields would sharpen an answer."""

import pytest

from support.builders import a_customer, with_usage
from telelink_gateway.unknown_fields import would_help
from telelink_shared.customer import MINUTES, Customer, row_of

VARIANTS = [
    {"name": "usage", "needs": list(MINUTES)},
    {"name": "day", "needs": ["total_day_minutes"]},
    {"name": "eleven", "needs": []},
]
ALL_MINUTES = ["totalDayMinutes", "totalEveMinutes", "totalNightMinutes", "totalIntlMinutes"]


@pytest.mark.parametrize(
    ("variants", "answered_by", "customer", "wanted"),
    [
        (VARIANTS, "usage", with_usage(), []),
        (VARIANTS, "eleven", a_customer(), ["totalDayMinutes"]),
        (VARIANTS, "day", a_customer(totalDayMinutes=1), ALL_MINUTES[1:]),
        (VARIANTS, "day", a_customer(totalDayCharge=1), ALL_MINUTES[1:]),
        ([VARIANTS[0], VARIANTS[2]], "eleven", a_customer(), ALL_MINUTES),
        ([VARIANTS[0], VARIANTS[2]], "eleven", with_usage(totalIntlMinutes=None), ["totalIntlMinutes"]),
    ],
)
def test_the_fewest_fields_that_let_a_better_variant_answer(variants, answered_by, customer, wanted):
    assert would_help(variants, answered_by, row_of(Customer.model_validate(customer))) == wanted
