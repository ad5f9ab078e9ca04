import pytest
from hypothesis import given
from hypothesis import strategies as st

from telelink_shared.decision import Confidence, Policy, Tier, confidence_of, decide, tier_of

POLICY = Policy(high_value_from_usd=15_000, top_value_from_usd=18_000)


@pytest.mark.parametrize(
    ("probability", "tier"),
    [
        (0.0, Tier.LOW),
        (0.149999, Tier.LOW),
        (0.15, Tier.MEDIUM),
        (0.299999, Tier.MEDIUM),
        (0.30, Tier.HIGH),
        (1.0, Tier.HIGH),
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
    assert decide(probability, value, POLICY).recommendation.startswith(word)


@pytest.mark.parametrize(("probability", "word"), [(0.5, "HIGH PRIORITY:"), (0.2, "MONITOR:"), (0.1, "MAINTAIN:")])
def test_without_a_value_the_advice_rests_on_the_risk_and_says_so(probability, word):
    decision = decide(probability, None, POLICY)
    assert decision.recommendation.startswith(word)
    assert "value is not known" in decision.recommendation
    assert decision.value_at_risk_usd is None


def test_without_a_risk_nothing_is_claimed_about_it():
    decision = decide(None, 20_000, POLICY)
    assert (decision.tier, decision.confidence, decision.value_at_risk_usd) == (None, None, None)
    assert "risk is not known" in decision.recommendation


@pytest.mark.parametrize(
    ("probability", "confidence"),
    [
        (0.9, Confidence.VERY_HIGH),
        (0.01, Confidence.VERY_HIGH),
        (0.22, Confidence.HIGH),
        (0.17, Confidence.MODERATE),
        (0.151, Confidence.LOW),
        (0.299, Confidence.LOW),
    ],
)
def test_confidence_falls_towards_the_tier_limits(probability, confidence):
    assert confidence_of(probability, POLICY) is confidence


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1e6))
def test_more_risk_never_means_a_lower_tier_nor_less_value_at_risk(one, other, value):
    low, high = sorted((one, other))
    order = list(Tier)
    assert order.index(tier_of(low, POLICY)) <= order.index(tier_of(high, POLICY))
    less, more = decide(low, value, POLICY).value_at_risk_usd, decide(high, value, POLICY).value_at_risk_usd
    assert less is not None
    assert more is not None
    assert less <= more
