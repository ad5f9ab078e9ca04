import numpy as np
import pytest

from telelink_shared.calibration import PROBABILITIES, SCORES, calibrate


def test_scores_between_two_points_lie_on_the_line_between_them():
    numbers = {SCORES: (0.2, 0.4), PROBABILITIES: (0.1, 0.5)}
    assert calibrate(np.array([0.0, 0.2, 0.3, 0.4, 1.0]), numbers) == pytest.approx([0.1, 0.1, 0.3, 0.5, 0.5])
