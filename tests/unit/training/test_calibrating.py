import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from telelink_shared.calibration import LOWER, PROBABILITIES, SCORES, UPPER, calibrate, calibrate_with_interval
from telelink_training.calibrating import CALIBRATIONS, cross_calibrated, table, venn_abers, with_interval


def votes_and_outcomes(n_rows, seed=1):
    """Votes, the true chance behind each, and what happened."""
    rng = np.random.default_rng(seed)
    votes = rng.beta(0.5, 2.0, n_rows)
    return votes, votes**2, rng.random(n_rows) < votes**2


@pytest.mark.parametrize("by", CALIBRATIONS)
def test_a_calibration_never_falls_stays_within_bounds_and_finds_the_observed_shares(by):
    votes, truth, y = votes_and_outcomes(5_000)
    numbers = table([votes], y, by=by)
    assert (np.diff(numbers[SCORES]) > 0).all()
    assert (np.diff(numbers[PROBABILITIES]) >= 0).all()
    assert 0 < min(numbers[PROBABILITIES]) <= max(numbers[PROBABILITIES]) < 1
    assert np.abs(calibrate(votes, numbers) - truth).mean() < 0.03


@pytest.mark.parametrize("by", CALIBRATIONS)
def test_a_calibration_of_votes_that_mislead_is_flat_and_never_falls(by):
    votes = np.tile(np.linspace(0, 1, 100), 10)
    numbers = table([votes], votes < 0.3, by=by)
    assert (np.diff(numbers[PROBABILITIES]) >= 0).all()
    assert np.ptp(numbers[PROBABILITIES]) < 0.02


def test_a_row_is_calibrated_by_a_table_that_was_fitted_without_it():
    y = np.arange(300) % 3 == 0
    votes = np.arange(300) / 300
    before = cross_calibrated(votes, y, by="isotonic", folds=5, seed=1)
    assert not np.array_equal(before, calibrate(votes, table([votes], y, by="isotonic")))
    # Votes that name each row: a table that had seen it would know its outcome.
    assert np.corrcoef(before, y)[0, 1] < 0.1


@pytest.mark.parametrize("point", [0.0, 0.25, 0.4, 0.77, 1.0])
def test_the_ends_of_the_interval_are_isotonic_fits_with_the_point_added_as_stayer_and_as_leaver(point):
    votes, _, y = votes_and_outcomes(200)
    votes = np.round(votes, 2)
    lower, upper = venn_abers(votes, y, np.array([point]))
    for outcome, end in ((0.0, lower), (1.0, upper)):
        fit = IsotonicRegression().fit(np.append(votes, point), np.append(y.astype(float), outcome))
        assert end[0] == pytest.approx(fit.predict([point])[0])


def test_the_interval_holds_the_probability_and_narrows_with_more_rows():
    widths = []
    for n_rows in (200, 5_000):
        votes, _, y = votes_and_outcomes(n_rows)
        numbers = with_interval(table([votes], y, by="beta"), [votes], y)
        assert (np.diff([numbers[LOWER], numbers[UPPER]], axis=1) >= 0).all()
        probability, lower, upper = calibrate_with_interval(votes, numbers)
        assert (lower <= probability).all()
        assert (probability <= upper).all()
        widths.append(np.mean(upper - lower))
    assert widths[1] < widths[0] / 2


def test_an_interval_is_widened_to_the_probability_and_never_moves_it():
    votes, _, y = votes_and_outcomes(500)
    for by in CALIBRATIONS:
        numbers = table([votes], y, by=by)
        assert np.array_equal(with_interval(numbers, [votes], y)[PROBABILITIES], numbers[PROBABILITIES])


def test_a_repeat_adds_no_rows_to_the_interval():
    votes, _, y = votes_and_outcomes(300)
    once = with_interval(table([votes], y, by="isotonic"), [votes], y)
    thrice = with_interval(table([votes] * 3, y, by="isotonic"), [votes] * 3, y)
    for one, other in zip(calibrate_with_interval(votes, once), calibrate_with_interval(votes, thrice), strict=True):
        assert np.abs(one - other).mean() < 1e-3
