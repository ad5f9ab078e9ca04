import pytest
from hypothesis import given
from hypothesis import strategies as st

from telelink_shared.decision import Policy, confidence_of, decide, tier_of

POLICY = Policy(high_value_from_usd=15_000, top_value_from_usd=18_000)


@pytest.mark.parametrize(
    ("probability", "tier"),
    [
        (0.0, "Low"),
        (0.149999, "Low"),
        (0.15, "Medium"),
        (0.299999, "Medium"),
        (0.30, "High"),
        (1.0, "High"),
    ],
)
def test_a_limit_belongs_to_the_higher_tier(probability, tier):
    assert tier_of(probability, POLICY) is tier


@pytest.mark.parametrize(
    ("probability", "value", "word"),
    [
        (0.5, 15_000, "CRITICAL:"),
        (0.5, 14_999, "HIGH PRIORITY:"),
        (0.2, 15_000, "PROACTIVE:"),
        (0.2, 14_999, "MONITOR:"),
        (0.1, 18_000, "NURTURE:"),
        (0.1, 17_999, "MAINTAIN:"),
    ],
)
def test_each_cell_of_the_table_has_its_code_word(probability, value, word):
    assert decide(probability, (0.0, 1.0), value, POLICY).recommendation.startswith(word)


@pytest.mark.parametrize(("probability", "word"), [(0.5, "HIGH PRIORITY:"), (0.2, "MONITOR:"), (0.1, "MAINTAIN:")])
def test_without_a_value_the_advice_rests_on_the_risk_and_says_so(probability, word):
    decision = decide(probability, (probability, probability), None, POLICY)
    assert decision.confidence == "Very High"
    assert decision.recommendation.startswith(word)
    assert "value is not known" in decision.recommendation
    assert decision.value_at_risk_usd is None


def test_without_a_risk_nothing_is_claimed_about_it():
    decision = decide(None, None, 20_000, POLICY)
    assert (decision.tier, decision.confidence, decision.value_at_risk_usd) == (None, None, None)
    assert "risk is not known" in decision.recommendation


@pytest.mark.parametrize(
    ("interval", "confidence"),
    [
        ((0.9, 0.95), "Very High"),
        ((0.01, 0.01), "Very High"),
        ((0.0, 0.02), "Very High"),
        ((0.20, 0.22), "Very High"),
        # Three times as wide, it would reach a limit.
        ((0.18, 0.22), "High"),
        ((0.05, 0.12), "High"),
        ((0.35, 0.45), "High"),
        ((0.10, 0.20), "Moderate"),
        ((0.25, 0.60), "Moderate"),
        ((0.10, 0.40), "Low"),
        ((0.0, 1.0), "Low"),
    ],
)
def test_the_tier_is_the_surer_the_fewer_limits_the_interval_comes_near(interval, confidence):
    assert confidence_of(interval, POLICY) == confidence


@pytest.mark.parametrize(
    ("interval", "confidence"),
    # A limit belongs to the higher tier: from it on there is one tier only, and up to it there are two.
    [((0.15, 0.16), "High"), ((0.14, 0.15), "Moderate"), ((0.15, 0.30), "Moderate"), ((0.15, 0.15), "Very High")],
)
def test_a_limit_is_crossed_when_both_tiers_are_within_the_interval(interval, confidence):
    assert confidence_of(interval, POLICY) == confidence


def test_a_decision_is_as_sure_as_the_interval_of_its_probability():
    assert decide(0.2, (0.10, 0.28), 1.0, POLICY).confidence == confidence_of((0.10, 0.28), POLICY) == "Moderate"


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_wider_interval_never_makes_surer(a, b, c, d):
    outer_lower, lower, upper, outer_upper = sorted((a, b, c, d))
    order = ["Low", "Moderate", "High", "Very High"]
    narrow, wide = confidence_of((lower, upper), POLICY), confidence_of((outer_lower, outer_upper), POLICY)
    assert order.index(wide) <= order.index(narrow)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1e6))
def test_more_risk_never_means_a_lower_tier_nor_less_value_at_risk(one, other, value):
    low, high = sorted((one, other))
    order = ["Low", "Medium", "High"]
    assert order.index(tier_of(low, POLICY)) <= order.index(tier_of(high, POLICY))
    less, more = (decide(each, (each, each), value, POLICY).value_at_risk_usd for each in (low, high))
    assert less is not None
    assert more is not None
    assert less <= more
