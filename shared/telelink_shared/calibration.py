"""From a forest's votes to a probability, by numbers fitted in training; training and services call the same code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from telelink_shared.features import Floats

SCORES: Final = "calibration_scores"
PROBABILITIES: Final = "calibration_probabilities"
LOWER: Final = "calibration_lower"
UPPER: Final = "calibration_upper"

Tables = Mapping[str, Sequence[float]] | Mapping[str, Floats]


def calibrate(scores: Floats, numbers: Tables) -> Floats:
    """Calibrated probabilities: a monotone table of scores and probabilities, straight lines between its points.

    Args:
        scores: share of votes for leaving, in [0, 1]; shape (n_rows,).
        numbers: `calibration_scores` (rising) and `calibration_probabilities` (never falling).

    Returns:
        in [0, 1]; shape (n_rows,).
    """
    return np.interp(scores, numbers[SCORES], numbers[PROBABILITIES])


def calibrate_with_interval(scores: Floats, numbers: Tables) -> tuple[Floats, Floats, Floats]:
    """Calibrated probabilities, and the Venn-ABERS interval around each.

    Args:
        scores: as for `calibrate`.
        numbers: also `calibration_lower` and `calibration_upper`, at the same scores.

    Returns:
        probability, lower, upper with lower <= probability <= upper; in [0, 1], shape (n_rows,) each.
    Source: Vovk, Petej 2014 (Venn-Abers predictors).
    """
    probability = calibrate(scores, numbers)
    lower = np.interp(scores, numbers[SCORES], numbers[LOWER])
    upper = np.interp(scores, numbers[SCORES], numbers[UPPER])
    # Between two points the lines keep their order, but for the last bit where they touch.
    return probability, np.minimum(lower, probability), np.maximum(upper, probability)
