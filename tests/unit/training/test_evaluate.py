import numpy as np
import pytest

from telelink_training.evaluate import (
    best_f1,
    classification,
    expected_calibration_error,
    markdown_table,
    regression,
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
