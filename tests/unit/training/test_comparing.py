import re

import pytest

from support.small_models import small_churn, small_clv
from telelink_shared.decision import Policy, tier_of
from telelink_training.comparing import compare
from telelink_training.data import synthetic
from telelink_training.evaluate import bootstrap, weighted_classification
from telelink_training.published import read_published
from telelink_training.splits import hold_out

TRAIN, OTHER = synthetic(300, seed=1), synthetic(200, seed=2)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A forest of one tree, two of many trees, and two value models."""
    folder = tmp_path_factory.mktemp("models")
    small_churn(TRAIN, folder, trees=1)
    small_churn(TRAIN, folder, trees=30)
    small_churn(TRAIN, folder, trees=30, seed=2)
    small_clv(TRAIN, folder)
    small_clv(TRAIN, folder, features="broad")
    return folder


def compared(models, old, new, name="churn", data=OTHER):
    return compare(read_published(models, name, old), read_published(models, name, new), data, seed=1)


def figure(text, name):
    """Old, new, difference and its interval."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", line.removeprefix(f"| {name} |"))]


def test_a_version_compared_with_itself_differs_in_nothing(models):
    text = compared(models, "2", "2")
    for name in ("accuracy", "f1", "roc_auc", "log_loss", "brier", "expected_calibration_error"):
        old, new, difference, lower, upper = figure(text, name)
        assert old == new
        assert difference == lower == upper == 0
    assert "0 of 200 customers change tier: 0 rise, 0 fall." in text


def test_the_same_rows_are_resampled_for_both_so_that_their_difference_is_surer_than_either(models):
    _, _, difference, lower, upper = figure(compared(models, "2", "3"), "log_loss")
    left = OTHER.frame["churn"].to_numpy(bool)
    stated = read_published(models, "churn", "2").answers(OTHER.rows).values
    alone = bootstrap(lambda weights: weighted_classification(left, stated, weights), 200, seed=1)["log_loss"]
    assert lower < difference < upper
    assert upper - lower < (alone[1] - alone[0]) / 2


def test_changes_of_tier_are_counted_by_the_same_rule_as_decisions(models):
    old, new = (
        [tier_of(probability, Policy()) for probability in model.answers(OTHER.rows).values]
        for model in (read_published(models, "churn", version) for version in ("1", "2"))
    )
    order = ["Low", "Medium", "High"]
    rise = sum(order.index(b) > order.index(a) for a, b in zip(old, new, strict=True))
    fall = sum(order.index(b) < order.index(a) for a, b in zip(old, new, strict=True))
    text = compared(models, "1", "2")
    assert f"{rise + fall} of 200 customers change tier: {rise} rise, {fall} fall." in text
    cells = [line.split(" | ")[1:] for line in text.splitlines() if line.startswith(("| Low", "| Medium", "| High"))]
    assert sum(int(cell.strip(" |")) for line in cells for cell in line) == 200


def test_value_models_are_compared_in_dollars_and_by_who_is_of_high_value(models):
    text = compared(models, "1", "2", "clv")
    old, new, difference, _, _ = figure(text, "rmse_usd")
    assert difference == pytest.approx(new - old, abs=1)
    assert re.search(r"\d+ of 200 customers change between high-value and not", text)
    assert "Rows answered by each variant: old: usage 200; new: usage 200." in text


def test_rows_that_a_version_was_trained_on_are_told(models):
    assert "Beware" not in compared(models, "1", "2")
    assert "Beware: the old version was trained on these very rows" in compared(models, "1", "2", data=TRAIN)


def test_a_file_of_which_most_was_trained_on_is_told(tmp_path):
    train, test = hold_out(TRAIN, seed=1)
    small_churn(train, tmp_path)
    assert "Beware: the old version was trained on most of these rows" in compared(tmp_path, "1", "1", data=TRAIN)
    assert "Beware" not in compared(tmp_path, "1", "1", data=test)
