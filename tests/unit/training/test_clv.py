import dataclasses

import numpy as np
import pytest

from telelink_shared.customer import CHARGES, MINUTES
from telelink_shared.features import Rows
from telelink_training import clv
from telelink_training.config import CONFIGS, load_config
from telelink_training.data import Dataset, lifetime_value_usd, synthetic

WHOLE = load_config(CONFIGS / "clv.toml")
CONFIG = dataclasses.replace(
    WHOLE, repeats={"small": 1}, variants=tuple(variant for variant in WHOLE.variants if variant.compare)
)


def test_the_half_width_is_the_finite_sample_quantile():
    # ceil(10 * 0.9) = 9: the largest of nine, which a tenth value exceeds with a chance of one in ten.
    assert clv.conformal_half_width(np.array([3.0, -9.0, 1.0, 2.0, -4.0, 5.0, 6.0, 7.0, 8.0])) == 9.0
    # ceil(20 * 0.9) = 18 of nineteen.
    assert clv.conformal_half_width(np.arange(1.0, 20.0)) == 18.0


def test_with_too_few_residuals_the_largest_is_taken():
    assert clv.conformal_half_width(np.array([1.0, -2.0])) == 2.0


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_new_errors_lie_within_the_half_width_as_often_as_stated(coverage):
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(400):
        half_width = clv.conformal_half_width(rng.standard_t(3, 60), coverage=coverage)
        inside.append(np.mean(np.abs(rng.standard_t(3, 200)) <= half_width))
    assert coverage - 0.005 < np.mean(inside) < coverage + 0.015


def test_training_finds_the_formula_that_the_values_were_made_by():
    data = synthetic(2_000, seed=1)
    value, _ = lifetime_value_usd(data, seed=2)
    trained = clv.train(data, value, CONFIG, search="small", jobs=1, min_rows=80)
    usage, eleven = trained.fitted
    assert (usage.name, eleven.name) == ("usage", "eleven")
    model, scale = usage.pipeline.named_steps["model"], np.array(usage.encoding.scale)
    slopes = dict(zip(usage.numeric, model.coef_ / np.array([*scale, 1, 1, 1, 1]), strict=False))
    assert slopes["account_length"] == pytest.approx(100, abs=2)
    assert slopes["bill_usd"] == pytest.approx(35, abs=5)
    # Normal noise with a standard deviation of 1,000 has nine tenths within 1,645.
    (half_width,) = usage.numbers[clv.HALF_WIDTH]
    assert half_width == pytest.approx(1_645, rel=0.06)
    assert eleven.numbers[clv.HALF_WIDTH][0] > half_width
    for variant in trained.variants:
        assert [row["candidate"] for row in variant.comparison] == [
            f"{model} (features={features})"
            for model in ("linear regression", "gradient boosting")
            for features in ("lean", "broad")
        ]


def test_a_variant_is_left_out_where_too_few_rows_have_what_it_needs():
    data = synthetic(200, seed=1)
    value, _ = lifetime_value_usd(data, seed=2)
    frame = data.frame.drop(columns=list(CHARGES))
    frame.loc[79:, list(MINUTES)] = np.nan
    trained = clv.train(Dataset(frame, "gaps"), value, CONFIG, search="small", jobs=1, min_rows=80)
    assert [variant.name for variant in trained.fitted] == ["eleven"]


def test_predictions_are_never_negative():
    data = synthetic(200, seed=1)
    trained = clv.train(data, -lifetime_value_usd(data, seed=2)[0], CONFIG, search="small", jobs=1, min_rows=80)
    assert clv.predictions(trained.fitted[0], data.rows).max() == 0.0


def test_values_that_hang_on_more_than_tenure_and_bill_are_learnt_from_the_broad_list():
    data = synthetic(400, seed=1)
    value = 100 * data.rows.numbers["customer_service_calls"]
    trained = clv.train(data, value, CONFIG, search="small", jobs=1, min_rows=80)
    assert [each.chosen for each in trained.variants] == 2 * [{"features": "broad"}]
    assert clv.predictions(trained.fitted[0], data.rows) == pytest.approx(value, abs=1e-6)


def test_coverage_is_told_for_the_bands_of_tenure_that_occur():
    rows = Rows(4, {"account_length": np.array([0.0, 59.0, 120.0, 400.0])}, {})
    told = clv.coverage_by_tenure(rows, np.array([True, False, True, True]))
    assert told == {"0 to 59 days": {"rows": 2, "coverage": 0.5}, "120 days or more": {"rows": 2, "coverage": 1.0}}
