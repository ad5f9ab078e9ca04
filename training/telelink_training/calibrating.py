"""From out-of-fold votes and outcomes to the table by which training and services calibrate, with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression, isotonic_regression
from sklearn.model_selection import StratifiedKFold

from telelink_shared.calibration import LOWER, PROBABILITIES, SCORES, UPPER, calibrate
from telelink_shared.features import Floats
from telelink_training.evaluate import Booleans

Fitted: TypeAlias = Callable[[Floats], Floats]
"""A fitted calibration: from rising votes to probabilities that never fall."""

# Votes of 0 and 1 say nothing of how rare the exception is: what lies beyond is treated as this.
_VOTE_LIMIT: Final = 2e-3
# Nobody is certain: a probability is never less, nor more than one minus this.
_PROBABILITY_LIMIT: Final = 3e-3
# A table has points at these many even distances and at these many quantiles of the votes.
_EVEN_POINTS: Final = 101
_QUANTILES: Final = 100
_DIGITS: Final = 6


def _beta(scores: Floats, y: Booleans) -> Fitted:
    """Beta calibration with both slopes kept from falling. Source: Kull, Silva Filho, Flach 2017."""

    def terms(votes: Floats) -> Floats:
        clipped = np.clip(votes, _VOTE_LIMIT, 1 - _VOTE_LIMIT)
        return np.column_stack([np.log(clipped), -np.log1p(-clipped), np.ones(len(votes))])

    design = terms(scores)

    def loss(weights: Floats) -> float:
        logits = design @ weights
        return float(np.mean(np.logaddexp(0.0, logits) - y * logits) + 1e-4 * np.sum(weights[:2] ** 2))

    weights = minimize(loss, [1.0, 1.0, 0.0], bounds=[(0, None), (0, None), (None, None)]).x
    return lambda votes: 1.0 / (1.0 + np.exp(-terms(votes) @ weights))


def _isotonic(scores: Floats, y: Booleans) -> Fitted:
    """Isotonic calibration. Source: Zadrozny, Elkan 2002."""
    fitted = IsotonicRegression(out_of_bounds="clip").fit(scores, y)
    return lambda votes: np.asarray(fitted.predict(votes), dtype=np.float64)


def venn_abers(scores: Floats, y: Booleans, points: Floats) -> tuple[Floats, Floats]:
    """Lower and upper probability at each of `points`: isotonic calibration with the point added as stayer, as leaver.

    Source: Vovk, Petej 2014 (Venn-Abers predictors), the inductive kind.
    """
    # To a thousandth: as few votes as matter keep the many fits below short.
    votes, position = np.unique(np.round(scores, 3), return_inverse=True)
    n_rows = np.bincount(position).astype(np.float64)
    n_left = np.bincount(position, weights=y)
    ends = np.empty((2, len(points)))
    for index, point in enumerate(points):
        at = int(np.searchsorted(votes, point))
        if at < len(votes) and votes[at] == point:
            rows, left = n_rows.copy(), n_left.copy()
            rows[at] += 1.0
        else:
            rows, left = np.insert(n_rows, at, 1.0), np.insert(n_left, at, 0.0)
        ends[0, index] = isotonic_regression(left / rows, sample_weight=rows)[at]
        left[at] += 1.0
        ends[1, index] = isotonic_regression(left / rows, sample_weight=rows)[at]
    return ends[0], ends[1]


def _merged_venn_abers(scores: Floats, y: Booleans) -> Fitted:
    """Both ends of the Venn-ABERS interval merged into one probability, as its authors do for log loss."""

    def probability(votes: Floats) -> Floats:
        lower, upper = venn_abers(scores, y, votes)
        return upper / (1.0 - lower + upper)

    return probability


CALIBRATIONS: Final[Mapping[str, Callable[[Floats, Booleans], Fitted]]] = {
    "beta": _beta,
    "isotonic": _isotonic,
    "Venn-ABERS": _merged_venn_abers,
}
"""Monotone calibrations by name, fitted on out-of-fold votes and outcomes."""

QUICK: Final = ("beta", "isotonic")
"""Those by which candidates are compared: the third takes as long as many a forest."""


def _points(scores: Floats) -> Floats:
    """Where a table has points: evenly, so that it holds anywhere, and where the votes are."""
    quantiles = np.quantile(scores, np.linspace(0.0, 1.0, _QUANTILES))
    return np.unique(np.round(np.concatenate([np.linspace(0.0, 1.0, _EVEN_POINTS), quantiles]), 3))


def _stated(probabilities: Floats) -> Floats:
    never_falling = np.maximum.accumulate(probabilities)
    return np.round(np.clip(never_falling, _PROBABILITY_LIMIT, 1 - _PROBABILITY_LIMIT), _DIGITS)


def table(score_sets: Sequence[Floats], y: Booleans, *, by: str) -> dict[str, Floats]:
    """The calibration's table over sets of out-of-fold votes of the same rows: the mean of the tables of each set.

    The mean, not one table over all of them: a row that is seen five times is still one row.

    Args:
        score_sets: votes for leaving, one array of shape (n_rows,) for each repeat of cross-validation.
        y: outcomes; shape (n_rows,).
        by: one of `CALIBRATIONS`.
    """
    points = _points(np.concatenate(score_sets))
    fitted = [CALIBRATIONS[by](scores, y)(points) for scores in score_sets]
    return {SCORES: points, PROBABILITIES: _stated(np.mean(fitted, axis=0))}


def with_interval(numbers: Mapping[str, Floats], score_sets: Sequence[Floats], y: Booleans) -> dict[str, Floats]:
    """A table with the Venn-ABERS interval beside it, widened where the probability lies outside of it."""
    ends = np.mean([venn_abers(scores, y, numbers[SCORES]) for scores in score_sets], axis=0)
    lower, upper = np.round(np.maximum.accumulate(ends, axis=1), _DIGITS)
    probabilities = numbers[PROBABILITIES]
    return {**numbers, LOWER: np.minimum(lower, probabilities), UPPER: np.maximum(upper, probabilities)}


def cross_calibrated(scores: Floats, y: Booleans, *, by: str, folds: int, seed: int) -> Floats:
    """Out-of-fold votes, calibrated by a table that was fitted without the row: an honest estimate."""
    calibrated = np.empty(len(y))
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(scores, y):
        calibrated[test] = calibrate(scores[test], table([scores[train]], y[train], by=by))
    return calibrated
