"""The words of a reason."""

import pytest

from telelink_shared.customer import COLUMNS
from telelink_shared.reasons import GROUP_NAMES, GROUPS, RISK, VALUE, sentence

CUSTOMER = {
    "account_length": 128.0,
    "state": "CA",
    "area_code": "415",
    "international_plan": "yes",
    "voice_mail_plan": "yes",
    "number_of_vmail_messages": 25.0,
    "total_day_calls": 110.0,
    "total_eve_calls": 85.0,
    "total_night_calls": 95.0,
    "total_intl_calls": 3.0,
    "customer_service_calls": 4.0,
    "total_day_minutes": 180.5,
    "total_intl_minutes": 1.2,
}


def told(group, contribution, effect=RISK, **changes):
    return sentence(group, CUSTOMER | changes, contribution, effect)


def test_every_column_belongs_to_exactly_one_group():
    assert sorted(column for group in GROUPS for column in group.columns) == sorted(COLUMNS)


def test_the_groups_are_the_nine_that_are_documented():
    assert GROUP_NAMES == (
        "international_plan",
        "voice_mail",
        "day",
        "evening",
        "night",
        "international_use",
        "service_calls",
        "tenure",
        "place",
    )


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (told("service_calls", 0.31), "4 service calls raise the risk by 31 points"),
        (told("service_calls", 0.01, customer_service_calls=1), "1 service call raises the risk by 1 point"),
        (told("service_calls", -0.02, customer_service_calls=0), "No service calls lower the risk by 2 points"),
        (told("international_plan", 0.12), "The international plan raises the risk by 12 points"),
        (
            told("international_plan", -0.004, international_plan="no"),
            "No international plan lowers the risk by 0.4 points",
        ),
        (told("voice_mail", -0.03), "The voice mail plan with 25 messages lowers the risk by 3 points"),
        (told("voice_mail", 0.02, voice_mail_plan="no"), "No voice mail plan raises the risk by 2 points"),
        (told("tenure", 2900, VALUE), "A tenure of 128 days raises the value by $2,900"),
        (told("tenure", -1.6, VALUE, account_length=1), "A tenure of 1 day lowers the value by $2"),
        (told("day", 0.08), "180 minutes by day in 110 calls raise the risk by 8 points"),
        (told("evening", -0.02), "85 calls in the evening lower the risk by 2 points"),
        (
            told("evening", -0.02, total_eve_charge=8.5),
            "100 minutes in the evening in 85 calls lower the risk by 2 points",
        ),
        (
            told("night", 0.02, total_night_minutes=None, total_night_calls=1),
            "1 call by night raises the risk by 2 points",
        ),
        (told("international_use", 0.02), "1 international minute in 3 calls raises the risk by 2 points"),
        (
            told("international_use", 0.02, total_intl_minutes=None),
            "3 international calls raise the risk by 2 points",
        ),
        (told("place", 20, VALUE), "Living in CA, area code 415, raises the value by $20"),
        (told("place", 0.0), "Living in CA, area code 415, hardly changes the risk"),
        (told("service_calls", -0.0004), "4 service calls hardly change the risk"),
        (told("service_calls", 0.0096), "4 service calls raise the risk by 1 point"),
        (told("service_calls", 0.4, VALUE), "4 service calls hardly change the value"),
    ],
)
def test_a_contribution_is_told_in_plain_english(words, wanted):
    assert words == wanted
