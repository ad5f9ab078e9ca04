"""Metrics on rows that were not fitted on, and tables of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]

ECE_BINS: Final = 10


def expected_calibration_error(y: Booleans, probability: Floats, *, bins: int = ECE_BINS) -> float:
    """Mean distance between stated probability and observed share over equally wide bins, weighted by their rows.

    Source: Naeini, Cooper, Hauskrecht 2015, "Obtaining well calibrated probabilities using Bayesian binning".
    """
    bin_of = np.minimum((probability * bins).astype(int), bins - 1)
    error = 0.0
    for position in range(bins):
        inside = bin_of == position
        if inside.any():
            error += abs(probability[inside].mean() - y[inside].mean()) * inside.mean()
    return float(error)


def best_f1(y: Booleans, probability: Floats) -> dict[str, float]:
    """The cut with the best F1 on these rows, with its precision and recall."""
    precision, recall, cuts = metrics.precision_recall_curve(y, probability)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(np.argmax(f1[:-1]))
    return {
        "cut": float(cuts[best]),
        "f1": float(f1[best]),
        "precision": float(precision[best]),
        "recall": float(recall[best]),
    }


def classification(y: Booleans, probability: Floats) -> dict[str, Any]:
    """Metrics of calibrated probabilities; accuracy, precision, recall and F1 at a cut of one half."""
    leaves = probability >= 0.5
    return {
        "rows": len(y),
        "accuracy": float(metrics.accuracy_score(y, leaves)),
        "precision": float(metrics.precision_score(y, leaves, zero_division=0.0)),
        "recall": float(metrics.recall_score(y, leaves)),
        "f1": float(metrics.f1_score(y, leaves)),
        "roc_auc": float(metrics.roc_auc_score(y, probability)),
        "average_precision": float(metrics.average_precision_score(y, probability)),
        "log_loss": float(metrics.log_loss(y, probability, labels=[False, True])),
        "brier": float(metrics.brier_score_loss(y, probability)),
        "expected_calibration_error": expected_calibration_error(y, probability),
        "at_best_f1": best_f1(y, probability),
    }


def regression(y: Floats, predicted: Floats) -> dict[str, Any]:
    """Metrics of dollar amounts."""
    return {
        "rows": len(y),
        "r2": float(metrics.r2_score(y, predicted)),
        "mae_usd": float(metrics.mean_absolute_error(y, predicted)),
        "rmse_usd": float(metrics.root_mean_squared_error(y, predicted)),
    }


def markdown_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as a Markdown table; numbers with four significant digits."""

    def text(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    lines = [f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |"]
    lines += [f"| {' | '.join(text(row[column]) for column in columns)} |" for row in rows]
    return "\n".join(lines)
