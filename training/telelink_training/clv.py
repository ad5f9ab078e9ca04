"""The lifetime-value model: linear regression with a conformal interval, one for each variant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline

from telelink_shared.features import Floats, Rows, bill_usd, table
from telelink_training.churn import encoder
from telelink_training.config import ModelConfig, VariantConfig
from telelink_training.costs import onnx_costs
from telelink_training.data import Dataset, known
from telelink_training.evaluate import over_repeats, regression
from telelink_training.export import FittedVariant
from telelink_training.progress import in_parallel

HALF_WIDTH: Final = "half_width_usd"
COVERAGE: Final = 0.90
TENURE_BANDS_DAYS: Final = ((0, 60), (60, 120), (120, math.inf))
"""From and below, in days of tenure: the bands for which coverage is told."""


@dataclass(frozen=True)
class TrainedVariant:
    """One variant with what is told of how it came about.

    Attributes:
        fitted: the linear regression, on all rows that have what it needs.
        comparison: a row for each candidate, cross-validated on the training rows.
        costs: of each candidate under ONNX, in the same order; timings differ from run to run.
        chosen: the name of its list of features.
        predictions: over its training rows, in US dollars.
    """

    fitted: FittedVariant
    comparison: list[dict[str, Any]]
    costs: list[dict[str, Any]]
    chosen: dict[str, Any]
    predictions: Floats


@dataclass(frozen=True)
class TrainedClv:
    """What training the value model gave: its variants, best first."""

    variants: tuple[TrainedVariant, ...]

    @property
    def fitted(self) -> tuple[FittedVariant, ...]:
        """What is published."""
        return tuple(variant.fitted for variant in self.variants)


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


def coverage_by_tenure(rows: Rows, inside: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, dict[str, float]]:
    """How many customers of each band of tenure there are, and which share of their values lay in the interval."""
    tenure, told = rows.numbers["account_length"], {}
    for lowest, limit in TENURE_BANDS_DAYS:
        mine = (tenure >= lowest) & (tenure < limit)
        if mine.any():
            name = f"{lowest} days or more" if math.isinf(limit) else f"{lowest} to {limit - 1:.0f} days"
            told[name] = {"rows": int(mine.sum()), "coverage": float(inside[mine].mean())}
    return told


@dataclass(frozen=True)
class _Candidate:
    label: str
    features: str
    numeric: tuple[str, ...]
    pipeline: Pipeline

    @property
    def is_linear(self) -> bool:
        return isinstance(self.pipeline.named_steps["model"], LinearRegression)


def _candidates(variant: VariantConfig, *, seed: int) -> list[_Candidate]:
    models = {"linear regression": LinearRegression}
    if variant.compare:
        models["gradient boosting"] = GradientBoostingRegressor
    return [
        _Candidate(
            f"{name} (features={features})",
            features,
            numeric,
            Pipeline(
                [
                    ("encode", encoder(numeric, variant.categorical)),
                    ("model", model() if model is LinearRegression else model(random_state=seed)),
                ]
            ),
        )
        for name, model in models.items()
        for features, numeric in variant.features.items()
    ]


def _out_of_fold(
    learners: Sequence[tuple[Pipeline, Floats]], y: Floats, config: ModelConfig, *, repeats: int, jobs: int, label: str
) -> list[list[Floats]]:
    splits = [
        list(KFold(config.folds, shuffle=True, random_state=config.seed + repeat).split(y)) for repeat in range(repeats)
    ]
    tasks = [_Fold(pipeline, X, y, *split) for pipeline, X in learners for each in splits for split in each]
    results = iter(in_parallel(_fold_predictions, tasks, jobs=jobs, label=label))
    predictions: list[list[Floats]] = []
    for _ in learners:
        mine = []
        for each in splits:
            predicted = np.empty(len(y))
            for _train, test in each:
                predicted[test] = next(results)
            mine.append(predicted)
        predictions.append(mine)
    return predictions


def _train_variant(
    variant: VariantConfig, rows: Rows, y: Floats, config: ModelConfig, *, repeats: int, jobs: int
) -> TrainedVariant:
    candidates = _candidates(variant, seed=config.seed)
    matrices = [table(rows, numeric=each.numeric, categorical=variant.categorical) for each in candidates]
    learners = [(each.pipeline, X) for each, X in zip(candidates, matrices, strict=True)]
    predicted = _out_of_fold(learners, y, config, repeats=repeats, jobs=jobs, label=f"clv, {variant.name}: candidates")
    comparison = [
        {
            "variant": variant.name,
            "candidate": each.label,
            **over_repeats([regression(y, repeat) for repeat in mine]),
        }
        for each, mine in zip(candidates, predicted, strict=True)
    ]
    linear = [position for position, each in enumerate(candidates) if each.is_linear]
    best = min(linear, key=lambda position: float(comparison[position]["rmse_usd"]))
    half_width = float(np.mean([conformal_half_width(y - each) for each in predicted[best]]))
    costs = [onnx_costs(pipeline.fit(X, y), X) for pipeline, X in learners]
    chosen = candidates[best]
    return TrainedVariant(
        fitted=FittedVariant(
            name=variant.name,
            needs=variant.needs,
            numeric=chosen.numeric,
            categorical=variant.categorical,
            pipeline=chosen.pipeline,  # fitted on all rows for its costs
            numbers={HALF_WIDTH: (half_width,)},
        ),
        comparison=comparison,
        costs=costs,
        chosen={"features": chosen.features},
        predictions=np.asarray(chosen.pipeline.predict(matrices[best]), dtype=np.float64),
    )


def train(
    dataset: Dataset, target_usd: Floats, config: ModelConfig, *, search: str, jobs: int, min_rows: int
) -> TrainedClv:
    """Fit every variant that the data allows.

    Args:
        dataset: training rows only.
        target_usd: lifetime value of each, in US dollars; shape (n_rows,).
        search: 'small' or 'full': how often cross-validation is repeated.
        jobs: cores, -1 for all.
        min_rows: least number of rows with all that a variant needs; with fewer it is left out.
    """
    rows, repeats = dataset.rows, config.repeats[search]
    trained = []
    for variant in config.variants:
        mine = known(rows, variant.needs)
        if mine.sum() >= min_rows:
            trained.append(
                _train_variant(variant, rows.take(mine), target_usd[mine], config, repeats=repeats, jobs=jobs)
            )
    return TrainedClv(tuple(trained))


def predictions(variant: FittedVariant, rows: Rows) -> Floats:
    """US dollars by the scikit-learn path, never negative; shape (n_rows,)."""
    return np.maximum(variant.scores(rows), 0.0)


OUTPUTS: Final = ("estimated_clv", "clv_lower", "clv_upper", "monthly_revenue")


def outputs(variant: FittedVariant, rows: Rows) -> dict[str, Floats]:
    """All that the service answers, by the scikit-learn path; US dollars, shape (n_rows,) each."""
    scores = variant.scores(rows)
    (half_width,) = variant.numbers[HALF_WIDTH]
    answers = (*(np.maximum(scores + shift, 0.0) for shift in (0.0, -half_width, half_width)), bill_usd(rows))
    return dict(zip(OUTPUTS, answers, strict=True))
