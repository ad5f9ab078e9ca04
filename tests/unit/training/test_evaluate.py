import numpy as np
import pytest

from telelink_training import evaluate
from telelink_training.evaluate import (
    best_f1,
    bootstrap,
    classification,
    expected_calibration_error,
    markdown_table,
    over_repeats,
    regression,
    reliability,
    weighted_classification,
    weighted_regression,
)

# Two of four leave. In the bin from 0.1 to 0.2: stated 0.15, seen 0.5. In the last one: stated 0.95, seen 0.5.
LEFT = np.array([False, True, True, False])
STATED = np.array([0.1, 0.2 - 1e-9, 1.0, 0.9])


def test_calibration_error_of_a_hand_worked_case():
    assert expected_calibration_error(LEFT, STATED) == pytest.approx(0.5 * 0.35 + 0.5 * 0.45)


def test_a_probability_of_one_falls_in_the_last_bin():
    assert expected_calibration_error(np.array([True, True]), np.array([1.0, 1.0])) == 0.0


def test_bins_weigh_as_much_as_their_rows():
    left = np.array([True] + [False] * 9)
    stated = np.array([0.05] + [0.95] * 9)
    assert expected_calibration_error(left, stated) == pytest.approx(0.1 * 0.95 + 0.9 * 0.95)


def test_reliability_tells_of_each_bin_what_was_stated_what_was_seen_and_of_how_many():
    first, last = reliability(LEFT, STATED)
    assert (first["stated"], first["share"], first["rows"]) == (pytest.approx(0.15), 0.5, 2)
    assert (last["stated"], last["share"], last["rows"]) == (pytest.approx(0.95), 0.5, 2)
    # Of two rows, one left: by Wilson's formula, 0.5 within 1.96 * sqrt(0.125 + 1.96**2 / 16) / (1 + 1.96**2 / 2).
    assert first["share_interval"] == pytest.approx([0.0945, 0.9055], abs=1e-4)
    (nobody,) = reliability(np.array([False, False]), np.array([0.01, 0.02]))
    assert nobody["share_interval"] == [0.0, pytest.approx(0.6576, abs=1e-4)]


def test_metrics_of_a_hand_worked_case():
    measured = classification(LEFT, STATED)
    assert {name: measured[name] for name in ("rows", "accuracy", "precision", "recall", "f1")} == {
        "rows": 4,
        "accuracy": 0.5,
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
    }
    assert measured["roc_auc"] == pytest.approx(0.75)
    assert measured["brier"] == pytest.approx((0.01 + 0.64 + 0.0 + 0.81) / 4)


def test_the_best_cut_is_one_at_which_its_figures_hold():
    best = best_f1(LEFT, STATED)
    flagged = best["cut"] <= STATED
    assert best["recall"] == (flagged & LEFT).sum() / LEFT.sum() == 1.0
    assert best["precision"] == pytest.approx((flagged & LEFT).sum() / flagged.sum())
    assert best["f1"] == pytest.approx(0.8)


def test_nobody_flagged_is_a_precision_of_zero_and_no_warning():
    assert classification(LEFT, np.array([0.1, 0.2, 0.3, 0.1]))["precision"] == 0.0


def test_dollar_metrics_of_a_hand_worked_case():
    measured = regression(np.array([100.0, 200.0, 300.0]), np.array([110.0, 200.0, 270.0]))
    assert measured["mae_usd"] == pytest.approx(40 / 3)
    assert measured["rmse_usd"] == pytest.approx(np.sqrt(1_000 / 3))
    assert measured["r2"] == pytest.approx(1 - 1_000 / 20_000)


def test_a_table_has_a_line_for_each_row_with_four_digits():
    rows = [{"candidate": "forest", "f1": 0.923456, "rows": 12_345}]
    assert markdown_table(rows, ["candidate", "f1", "rows"]).splitlines() == [
        "| candidate | f1 | rows |",
        "| --- | --- | --- |",
        "| forest | 0.9235 | 12345 |",
    ]


def some_outcomes(n_rows=300, seed=1):
    """Probabilities in steps, so that many are equal, and what happened."""
    rng = np.random.default_rng(seed)
    stated = rng.integers(0, 21, n_rows) / 20
    return rng.random(n_rows) < stated, stated


def test_weighted_figures_are_those_of_the_rows_written_out_as_often_as_they_count():
    left, stated = some_outcomes()
    weights = np.random.default_rng(2).integers(0, 4, (3, len(left))).astype(float)
    figures = weighted_classification(left, stated, weights)
    for position, counts in enumerate(weights.astype(int)):
        wanted = classification(np.repeat(left, counts), np.repeat(stated, counts))
        assert {name: values[position] for name, values in figures.items()} == pytest.approx(
            {name: wanted[name] for name in figures}
        )


def test_weighted_dollar_figures_are_those_of_the_rows_written_out():
    rng = np.random.default_rng(3)
    y, predicted = rng.normal(5_000, 900, (2, 80))
    weights = rng.integers(0, 4, (3, 80)).astype(float)
    figures = weighted_regression(y, predicted, weights)
    for position, counts in enumerate(weights.astype(int)):
        wanted = regression(np.repeat(y, counts), np.repeat(predicted, counts))
        assert {name: values[position] for name, values in figures.items()} == pytest.approx(
            {name: wanted[name] for name in figures}
        )


def test_a_bootstrap_interval_covers_the_truth_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(evaluate, "RESAMPLES", 200)
    covered = []
    for seed in range(200):
        rolled = np.random.default_rng(seed).random(100) < 0.3
        shares = bootstrap(lambda weights, rolled=rolled: {"share": weights @ rolled / 100}, 100, seed=seed)
        lower, upper = shares["share"]
        covered.append(lower <= 0.3 <= upper)
    assert 0.89 < np.mean(covered) < 0.99


def test_resamples_come_in_parts_that_do_not_change_the_interval_of_many_rows(monkeypatch):
    rolled = np.arange(500) < 150
    measure = lambda weights: {"share": weights @ rolled / 500}  # noqa: E731
    at_once = bootstrap(measure, 500, seed=1)["share"]
    monkeypatch.setattr(evaluate, "_WEIGHTS_AT_ONCE", 500 * 7)
    assert bootstrap(measure, 500, seed=1)["share"] == pytest.approx(at_once, abs=0.01)


def test_resamples_without_leavers_are_left_out_of_an_interval():
    left = np.array([True] + [False] * 19)
    lower, upper = bootstrap(lambda w: weighted_classification(left, np.linspace(1, 0, 20), w), 20, seed=1)["roc_auc"]
    assert (lower, upper) == (1.0, 1.0)


def test_repeats_are_told_by_mean_and_standard_deviation():
    told = over_repeats([{"rows": 9, "f1": 0.5, "at_best_f1": {}}, {"rows": 9, "f1": 0.7, "at_best_f1": {}}])
    assert told == {"rows": 9, "f1": pytest.approx(0.6), "spread": {"f1": pytest.approx(0.1 * 2**0.5)}}
    assert over_repeats([{"rows": 9, "f1": 0.5}])["spread"] == {"f1": 0.0}


def test_a_table_shows_spread_and_interval_beside_the_figure():
    row = {"name": "a", "f1": 0.91234, "spread": {"f1": 0.00312}, "auc": 0.9, "auc_interval": [0.85, 0.95]}
    assert markdown_table([row], ["name", "f1", "auc"]).splitlines()[-1] == (
        "| a | 0.9123 ± 0.003 | 0.9 (0.85 to 0.95) |"
    )
