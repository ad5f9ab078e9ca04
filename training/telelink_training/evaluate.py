"""Metrics on rows that were not fitted on, and tables of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]

ECE_BINS: Final = 10
RESAMPLES: Final = 1_000
# Resampled weights are made for as many resamples at once as keep them within 32 MB.
_WEIGHTS_AT_ONCE: Final = 4_000_000


def _bin_of(probability: Floats, bins: int) -> NDArray[np.intp]:
    """The position of each probability's bin among equally wide ones; a probability of one is in the last."""
    return np.minimum((probability * bins).astype(np.intp), np.intp(bins - 1))


def expected_calibration_error(y: Booleans, probability: Floats, *, bins: int = ECE_BINS) -> float:
    """Mean distance between stated probability and observed share over equally wide bins, weighted by their rows.

    Source: Naeini, Cooper, Hauskrecht 2015, "Obtaining well calibrated probabilities using Bayesian binning".
    """
    told = reliability(y, probability, bins=bins)
    return float(sum(abs(each["stated"] - each["share"]) * each["rows"] for each in told) / len(y))


def reliability(y: Booleans, probability: Floats, *, bins: int = ECE_BINS) -> list[dict[str, Any]]:
    """Observed share of leavers against the stated probability, for each of equally wide bins that has rows.

    Returns:
        for each bin: `stated`, the mean probability; `share` that left, with its 95 % interval (Wilson) under
        `share_interval`; `rows`.
    """
    bin_of = _bin_of(probability, bins)
    told = []
    for position in np.unique(bin_of):
        inside = bin_of == position
        rows, share = int(inside.sum()), float(y[inside].mean())
        told.append(
            {
                "stated": float(probability[inside].mean()),
                "share": share,
                "share_interval": _wilson(share, rows),
                "rows": rows,
            }
        )
    return told


def _wilson(share: float, rows: int) -> list[float]:
    z = 1.96
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z * (share * (1 - share) / rows + z**2 / (4 * rows**2)) ** 0.5 / (1 + z**2 / rows)
    # A share of nought or one lies in its own interval, and no end beyond them, but for the last bit.
    return [min(max(centre - half, 0.0), share), max(min(centre + half, 1.0), share)]


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


def _ranked(y: Booleans, probability: Floats, weights: Floats) -> dict[str, Floats]:
    """ROC AUC and average precision of every resample, ties counted as scikit-learn does."""
    order = np.argsort(-probability, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(probability[order])), len(y) - 1)
    w, left = weights[:, order], y[order]
    true = np.cumsum(w * left, axis=1)[:, last_of_tie]
    false = np.cumsum(w * ~left, axis=1)[:, last_of_tie]
    n_true, n_false = true[:, -1], false[:, -1]
    gained = np.diff(true, axis=1, prepend=0.0)
    below = n_false[:, np.newaxis] - (false + np.concatenate([np.zeros((len(w), 1)), false[:, :-1]], axis=1)) / 2
    precision = true / np.maximum(true + false, 1.0)
    return {
        "roc_auc": (gained * below).sum(axis=1) / (n_true * n_false),
        "average_precision": (gained * precision).sum(axis=1) / n_true,
    }


def weighted_classification(y: Booleans, probability: Floats, weights: Floats) -> dict[str, Floats]:
    """The figures of `classification` for many weightings of the same rows at once.

    Args:
        weights: how often each row counts; shape (n_weightings, n_rows).

    Returns:
        arrays of shape (n_weightings,) by name; NaN where a weighting has leavers only, or none.
    """
    n_rows, leaves = weights.sum(axis=1), probability >= 0.5
    stated = np.clip(probability, np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)
    true, flagged, n_left = weights @ (leaves & y), weights @ leaves, weights @ y
    bin_of = _bin_of(probability, ECE_BINS)
    gaps = np.stack([np.abs(weights @ np.where(bin_of == each, probability - y, 0.0)) for each in range(ECE_BINS)])
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "accuracy": weights @ (leaves == y) / n_rows,
            "precision": true / np.maximum(flagged, 1.0),
            "recall": true / n_left,
            "f1": 2 * true / np.maximum(flagged + n_left, 1.0),
            **_ranked(y, probability, weights),
            "log_loss": weights @ -np.log(np.where(y, stated, 1 - stated)) / n_rows,
            "brier": weights @ (probability - y) ** 2 / n_rows,
            "expected_calibration_error": gaps.sum(axis=0) / n_rows,
        }


def weighted_regression(y: Floats, predicted: Floats, weights: Floats) -> dict[str, Floats]:
    """The figures of `regression` for many weightings of the same rows at once; see `weighted_classification`."""
    n_rows, errors = weights.sum(axis=1), predicted - y
    squares = weights @ errors**2
    spread = weights @ y**2 - (weights @ y) ** 2 / n_rows
    return {
        "r2": 1 - squares / np.maximum(spread, 1e-12),
        "mae_usd": weights @ np.abs(errors) / n_rows,
        "rmse_usd": np.sqrt(squares / n_rows),
    }


def _resampled_weights(n_rows: int, *, seed: int) -> Iterator[Floats]:
    rng = np.random.default_rng(seed)
    at_once = max(1, _WEIGHTS_AT_ONCE // n_rows)
    for start in range(0, RESAMPLES, at_once):
        size = min(at_once, RESAMPLES - start)
        drawn = rng.integers(n_rows, size=(size, n_rows)) + n_rows * np.arange(size)[:, np.newaxis]
        yield np.bincount(drawn.ravel(), minlength=size * n_rows).reshape(size, n_rows).astype(np.float64)


def bootstrap(measure: Callable[[Floats], Mapping[str, Floats]], n_rows: int, *, seed: int) -> dict[str, list[float]]:
    """95 % intervals by the percentile bootstrap: [lower, upper] by figure.

    Args:
        measure: figures for many weightings of the rows, as `weighted_classification` gives them.
        n_rows: number of rows.
    """
    parts = [measure(weights) for weights in _resampled_weights(n_rows, seed=seed)]
    intervals = {}
    for name in parts[0]:
        lower, upper = np.nanquantile(np.concatenate([part[name] for part in parts]), (0.025, 0.975))
        intervals[name] = [float(lower), float(upper)]
    return intervals


def named_intervals(intervals: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Intervals under the names that a manifest has for them."""
    return {f"{name}_interval": interval for name, interval in intervals.items()}


def over_repeats(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean of each figure over repeats of cross-validation, and under `spread` its standard deviation."""
    names = [name for name, value in measured[0].items() if isinstance(value, float)]
    values = {name: np.array([each[name] for each in measured]) for name in names}
    deviations = 1 if len(measured) > 1 else 0
    return {
        "rows": measured[0]["rows"],
        **{name: float(each.mean()) for name, each in values.items()},
        "spread": {name: float(each.std(ddof=deviations)) for name, each in values.items()},
    }


def shown(row: Mapping[str, Any], column: str) -> str:
    """A figure with four significant digits, and its interval or spread where the row has one."""
    value = row[column]
    if not isinstance(value, float):
        return str(value)
    if f"{column}_interval" in row:
        lower, upper = row[f"{column}_interval"]
        return f"{value:.4g} ({lower:.4g} to {upper:.4g})"
    spread = row.get("spread", {}).get(column)
    return f"{value:.4g}" if spread is None else f"{value:.4g} ± {spread:.1g}"


def markdown_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as a Markdown table; see `shown`."""
    lines = [f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |"]
    lines += [f"| {' | '.join(shown(row, column) for column in columns)} |" for row in rows]
    return "\n".join(lines)
