import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telelink_shared.calibration import LOWER, PROBABILITIES, SCORES, UPPER, calibrate, calibrate_with_interval


def test_scores_between_two_points_lie_on_the_line_between_them():
    numbers = {SCORES: (0.2, 0.4), PROBABILITIES: (0.1, 0.5)}
    assert calibrate(np.array([0.0, 0.2, 0.3, 0.4, 1.0]), numbers) == pytest.approx([0.1, 0.1, 0.3, 0.5, 0.5])


def test_the_interval_is_read_at_the_same_scores():
    numbers = {SCORES: (0.2, 0.4), PROBABILITIES: (0.1, 0.5), LOWER: (0.0, 0.4), UPPER: (0.3, 0.9)}
    probability, lower, upper = calibrate_with_interval(np.array([0.3]), numbers)
    assert [*probability, *lower, *upper] == pytest.approx([0.3, 0.2, 0.6])


def rising(n):
    return st.lists(st.floats(0, 1), min_size=n, max_size=n).map(sorted)


@given(st.data())
def test_the_probability_always_lies_within_its_interval(data):
    n = data.draw(st.integers(2, 6))
    scores = sorted(data.draw(st.sets(st.floats(0, 1), min_size=n, max_size=n)))
    tables = np.sort(np.array([data.draw(rising(n)) for _ in range(3)]), axis=0)
    numbers = dict(zip((SCORES, LOWER, PROBABILITIES, UPPER), (scores, *tables), strict=True))
    probability, lower, upper = calibrate_with_interval(np.linspace(0, 1, 101), numbers)
    assert (lower <= probability).all()
    assert (probability <= upper).all()
    assert ((lower >= 0) & (upper <= 1)).all()
