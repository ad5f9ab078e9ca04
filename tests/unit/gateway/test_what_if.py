"""The levers of an agent, and the smallest of them that reach a tier."""

import pytest
from pydantic import ValidationError

from support.builders import a_customer, with_usage
from telelink_gateway.what_if import TYPICAL_MESSAGES, Changes, candidates, changed, smallest
from telelink_shared.customer import CHARGES, MINUTES, Customer
from telelink_shared.decision import Decision


def customer(make=with_usage, **fields):
    return Customer.model_validate(make(**fields))


def changes(**fields):
    return Changes.model_validate(fields)


def tier(name):
    return Decision(name, "", None, None)


@pytest.mark.parametrize("field", ["accountLength", "state", "areaCode", "totalDayMinutes", "customerId"])
def test_what_nobody_can_change_is_refused(field):
    with pytest.raises(ValidationError):
        changes(**{field: 1})


def test_only_what_is_changed_changes():
    before = customer(internationalPlan="yes")
    after = changed(before, changes(internationalPlan="no"))
    assert after == before.model_copy(update={"international_plan": "no"})


@pytest.mark.parametrize(
    ("had", "wanted", "messages"),
    [("no", "yes", TYPICAL_MESSAGES), ("yes", "no", 0), ("yes", "yes", 25)],
)
def test_voice_mail_comes_and_goes_with_its_messages(had, wanted, messages):
    before = customer(voiceMailPlan=had, numberOfVmailMessages=25 if had == "yes" else 0)
    assert changed(before, changes(voiceMailPlan=wanted)).number_of_vmail_messages == messages


def test_a_lower_bill_lowers_every_period_and_adds_none():
    before = customer(totalIntlMinutes=None, totalIntlCharge=2.0)
    after = changed(before, changes(billReduction=0.1))
    for column in (*MINUTES, *CHARGES):
        value = getattr(before, column)
        assert getattr(after, column) == (None if value is None else pytest.approx(0.9 * value))


def test_candidates_are_all_combinations_smallest_first_and_never_nothing():
    found = candidates(customer(customerServiceCalls=2))
    assert len(found) == 2 * 2 * 3 * 7 - 1
    assert len(set(found)) == len(found)
    assert [len(each.levers) for each in found] == sorted(len(each.levers) for each in found)
    assert {each.customer_service_calls for each in found} == {None, 1.0, 0.0}


def test_without_usage_the_bill_is_no_lever_and_without_service_calls_they_are_none():
    found = candidates(customer(a_customer, customerServiceCalls=0))
    assert {lever for each in found for lever in each.levers} == {"international_plan", "voice_mail_plan"}


def test_a_customer_with_thousands_of_service_calls_has_not_thousands_of_candidates():
    assert len(candidates(customer(customerServiceCalls=10_000))) < 300


def test_the_smallest_that_reach_the_goal_or_better_are_chosen_and_nothing_is_only_added_to_them():
    plan, fewer, both = (
        changes(internationalPlan="no"),
        changes(customerServiceCalls=1),
        changes(internationalPlan="no", customerServiceCalls=1),
    )
    tried = [(fewer, tier("High")), (plan, tier("Low")), (both, tier("Low"))]
    assert smallest(tried, "Medium", most=3) == [1]
    assert smallest([(plan, tier("High")), (fewer, tier("High")), (both, tier("Medium"))], "Medium", most=3) == [2]
    assert smallest([(plan, tier("Medium"))], "Low", most=3) == []
    assert smallest([(plan, tier("Low")), (fewer, tier("Low"))], "Low", most=1) == [0]


def test_changes_are_told_as_advice():
    told = changes(internationalPlan="no", voiceMailPlan="yes", customerServiceCalls=1, billReduction=0.1).words
    assert told.startswith("Drop the international plan and add the voice mail plan and bring service calls to 1")
    assert told.endswith("and lower the bill by 10%")
