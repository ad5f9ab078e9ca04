"""The lifetime-value model: linear regression with a conformal interval, one for each variant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline

from telelink_shared.features import Floats, Rows, table
from telelink_training.churn import encoder
from telelink_training.config import ModelConfig, VariantConfig
from telelink_training.data import Dataset, known
from telelink_training.evaluate import regression
from telelink_training.export import FittedVariant
from telelink_training.progress import in_parallel

HALF_WIDTH: Final = "half_width_usd"
COVERAGE: Final = 0.90


@dataclass(frozen=True)
class TrainedClv:
    """What training the value model gave.

    Attributes:
        variants: best first.
        comparison: a row for each candidate and variant, cross-validated on the training rows.
        predictions: of the first variant over its training rows, in US dollars.
    """

    variants: tuple[FittedVariant, ...]
    comparison: list[dict[str, Any]]
    predictions: Floats


@dataclass(frozen=True)
class _Fold:
    pipeline: Pipeline
    X: Floats
    y: Floats
    train: np.ndarray[Any, np.dtype[np.intp]]
    test: np.ndarray[Any, np.dtype[np.intp]]


def _fold_predictions(fold: _Fold) -> Floats:
    fold.pipeline.fit(fold.X[fold.train], fold.y[fold.train])
    return np.asarray(fold.pipeline.predict(fold.X[fold.test]), dtype=np.float64)


def conformal_half_width(residuals: Floats, *, coverage: float = COVERAGE) -> float:
    """Half the width of an interval that covers a new value with at least this probability, if it errs like these.

    Args:
        residuals: out-of-fold errors in US dollars; shape (n_rows,).
    Source: Papadopoulos et al. 2002; the finite-sample quantile of Lei et al. 2018, with cross-validated residuals.
    """
    rank = min(math.ceil((len(residuals) + 1) * coverage), len(residuals))
    return float(np.sort(np.abs(residuals))[rank - 1])


def _pipeline(variant: VariantConfig, model: Any) -> Pipeline:
    return Pipeline([("encode", encoder(variant)), ("model", model)])


def _train_variant(
    variant: VariantConfig, rows: Rows, y: Floats, config: ModelConfig, *, jobs: int
) -> tuple[FittedVariant, list[dict[str, Any]], Floats]:
    X = table(rows, numeric=variant.numeric, categorical=variant.categorical)
    candidates = {
        "linear regression": LinearRegression(),
        "gradient boosting": GradientBoostingRegressor(random_state=config.seed),
    }
    splits = list(KFold(config.folds, shuffle=True, random_state=config.seed).split(X))
    tasks = [_Fold(_pipeline(variant, model), X, y, *split) for model in candidates.values() for split in splits]
    results = iter(in_parallel(_fold_predictions, tasks, jobs=jobs, label=f"clv, {variant.name}: candidates"))
    comparison = []
    out_of_fold = {}
    for name in candidates:
        predicted = np.empty(len(y))
        for _train, test in splits:
            predicted[test] = next(results)
        out_of_fold[name] = predicted
        comparison.append({"variant": variant.name, "candidate": name, **regression(y, predicted)})
    chosen = _pipeline(variant, LinearRegression()).fit(X, y)
    half_width = conformal_half_width(y - out_of_fold["linear regression"])
    numbers = {HALF_WIDTH: (half_width,)}
    fitted = FittedVariant(variant.name, variant.needs, variant.numeric, variant.categorical, chosen, numbers)
    return fitted, comparison, np.asarray(chosen.predict(X), dtype=np.float64)


def train(dataset: Dataset, target_usd: Floats, config: ModelConfig, *, jobs: int, min_rows: int) -> TrainedClv:
    """Fit every variant that the data allows.

    Args:
        dataset: training rows only.
        target_usd: lifetime value of each, in US dollars; shape (n_rows,).
        jobs: cores, -1 for all.
        min_rows: least number of rows with all that a variant needs; with fewer it is left out.
    """
    rows = dataset.rows
    trained = []
    for variant in config.variants:
        mine = known(rows, variant.needs)
        if mine.sum() >= min_rows:
            trained.append(_train_variant(variant, rows.take(mine), target_usd[mine], config, jobs=jobs))
    return TrainedClv(
        variants=tuple(fitted for fitted, _, _ in trained),
        comparison=[row for _, comparison, _ in trained for row in comparison],
        predictions=trained[0][2],
    )


def predictions(variant: FittedVariant, rows: Rows) -> Floats:
    """US dollars by the scikit-learn path, never negative; shape (n_rows,)."""
    return np.maximum(variant.scores(rows), 0.0)
