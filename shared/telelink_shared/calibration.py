"""From a forest's votes to a probability, by numbers fitted in training; training and services call the same code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from telelink_shared.features import Floats

SCORES: Final = "calibration_scores"
PROBABILITIES: Final = "calibration_probabilities"


def calibrate(scores: Floats, numbers: Mapping[str, Sequence[float]]) -> Floats:
    """Calibrated probabilities: a monotone table of scores and probabilities, straight lines between its points.

    Args:
        scores: share of votes for leaving, in [0, 1]; shape (n_rows,).
        numbers: `calibration_scores` (rising) and `calibration_probabilities` (never falling).

    Returns:
        in [0, 1]; shape (n_rows,).
    """
    return np.interp(scores, numbers[SCORES], numbers[PROBABILITIES])
