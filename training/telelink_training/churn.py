"""The churn model: a calibrated random forest, one for each variant, and the candidates it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import Pipeline
from scipy.optimize import minimize
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from telelink_shared.calibration import PROBABILITIES, SCORES, calibrate
from telelink_shared.customer import CATEGORIES
from telelink_shared.features import Floats, Rows, table
from telelink_training.config import ModelConfig, VariantConfig
from telelink_training.data import CHURN, Dataset, known
from telelink_training.evaluate import Booleans, classification
from telelink_training.export import FittedVariant
from telelink_training.progress import in_parallel

Table: TypeAlias = dict[str, tuple[float, ...]]

# Votes of 0 and 1 say nothing of how rare the exception is: what lies beyond is treated as this.
_VOTE_LIMIT: Final = 2e-3
_TABLE_POINTS: Final = 201
# Nobody is certain: a table never says less, nor more than one minus this.
_PROBABILITY_LIMIT: Final = 3e-3
_CALIBRATION_REPEATS: Final = 3
# Of leavers and of stayers: each of five fits then sees the six that SMOTE needs.
_MIN_OF_EACH: Final = 8


def encoder(variant: VariantConfig) -> ColumnTransformer:
    """Scaling and one-hot for `features.table` of this variant, in the order that `features.encode` has."""
    n_numeric = len(variant.numeric)
    positions = [n_numeric + position for position in range(len(variant.categorical))]
    values = [np.arange(len(CATEGORIES[name].values), dtype=np.float64) for name in variant.categorical]
    return ColumnTransformer(
        [
            ("scale", StandardScaler(), list(range(n_numeric))),
            ("one_hot", OneHotEncoder(categories=values, sparse_output=False), positions),
        ]
    )


def forest_pipeline(variant: VariantConfig, parameters: Mapping[str, Any], *, seed: int) -> Pipeline:
    """Encoding, perhaps SMOTE, and the forest. Resampling sits inside, so that it never sees a validation row."""
    settings = dict(parameters)
    resampling = settings.pop("resampling", "none")
    weight = "balanced_subsample" if resampling == "class_weight" else None
    forest = RandomForestClassifier(**settings, class_weight=weight, random_state=seed)
    return _pipeline(variant, forest, with_smote=resampling == "smote", seed=seed)


def _pipeline(variant: VariantConfig, model: Any, *, with_smote: bool, seed: int) -> Pipeline:
    resample = [("resample", SMOTE(random_state=seed))] if with_smote else []
    return Pipeline([("encode", encoder(variant)), *resample, ("model", model)])


def _candidates(seed: int) -> dict[str, Any]:
    return {
        "logistic regression": LogisticRegression(max_iter=1000),
        "random forest": RandomForestClassifier(n_estimators=100, random_state=seed),
        "gradient boosting": GradientBoostingClassifier(random_state=seed),
    }


@dataclass(frozen=True)
class _Fold:
    pipeline: Pipeline
    X: Floats
    y: Booleans
    train: np.ndarray[Any, np.dtype[np.intp]]
    test: np.ndarray[Any, np.dtype[np.intp]]


def _fold_scores(fold: _Fold) -> Floats:
    fold.pipeline.fit(fold.X[fold.train], fold.y[fold.train])
    return np.asarray(fold.pipeline.predict_proba(fold.X[fold.test])[:, 1], dtype=np.float64)


def _folds(X: Floats, y: Booleans, *, folds: int, seed: int) -> list[tuple[Any, Any]]:
    return list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(X, y))


def out_of_fold(
    pipelines: Sequence[Pipeline], X: Floats, y: Booleans, *, folds: int, seed: int, jobs: int, label: str
) -> list[Floats]:
    """For each pipeline, the score of each row by a fit that did not see it; shape (n_rows,) each."""
    splits = _folds(X, y, folds=folds, seed=seed)
    tasks = [_Fold(pipeline, X, y, train, test) for pipeline in pipelines for train, test in splits]
    results = iter(in_parallel(_fold_scores, tasks, jobs=jobs, label=label))
    scores = []
    for _ in pipelines:
        mine = np.empty(len(y))
        for _train, test in splits:
            mine[test] = next(results)
        scores.append(mine)
    return scores


def _beta(scores: Floats, y: Booleans) -> Table:
    """Beta calibration with both slopes kept from falling. Source: Kull, Silva Filho, Flach 2017."""

    def terms(votes: Floats) -> Floats:
        clipped = np.clip(votes, _VOTE_LIMIT, 1 - _VOTE_LIMIT)
        return np.column_stack([np.log(clipped), -np.log1p(-clipped), np.ones(len(votes))])

    design = terms(scores)

    def loss(weights: Floats) -> float:
        logits = design @ weights
        return float(np.mean(np.logaddexp(0.0, logits) - y * logits) + 1e-4 * np.sum(weights[:2] ** 2))

    weights = minimize(loss, [1.0, 1.0, 0.0], bounds=[(0, None), (0, None), (None, None)]).x
    grid = np.linspace(0.0, 1.0, _TABLE_POINTS)
    return {SCORES: tuple(grid), PROBABILITIES: tuple(1.0 / (1.0 + np.exp(-terms(grid) @ weights)))}


def _isotonic(scores: Floats, y: Booleans) -> Table:
    """Isotonic calibration. Source: Zadrozny, Elkan 2002."""
    fitted = IsotonicRegression(y_min=_PROBABILITY_LIMIT, y_max=1 - _PROBABILITY_LIMIT, out_of_bounds="clip").fit(
        scores, y
    )
    return {SCORES: tuple(fitted.X_thresholds_), PROBABILITIES: tuple(fitted.y_thresholds_)}


CALIBRATIONS: Final[Mapping[str, Callable[[Floats, Booleans], Table]]] = {"beta": _beta, "isotonic": _isotonic}
"""Monotone calibrations by name: each gives a table for `calibration.calibrate` from out-of-fold votes and outcomes."""


def cross_calibrated(scores: Floats, y: Booleans, *, by: str, folds: int, seed: int) -> Floats:
    """Out-of-fold scores, calibrated by a table that was fitted without the row: an honest estimate."""
    calibrated = np.empty(len(y))
    for train, test in _folds(scores, y, folds=folds, seed=seed + 1):
        calibrated[test] = calibrate(scores[test], CALIBRATIONS[by](scores[train], y[train]))
    return calibrated


@dataclass(frozen=True)
class TrainedChurn:
    """What training the churn model gave.

    Attributes:
        variants: best first.
        comparison: a row for each candidate and variant, cross-validated on the training rows.
        chosen: the parameters of each variant's forest.
        probabilities: out-of-fold calibrated probabilities of the first variant over its training rows.
    """

    variants: tuple[FittedVariant, ...]
    comparison: list[dict[str, Any]]
    chosen: dict[str, dict[str, Any]]
    probabilities: Floats


def _can_be_learnt(y: Booleans, *, min_rows: int) -> bool:
    return len(y) >= min_rows and min(int(y.sum()), int((~y).sum())) >= _MIN_OF_EACH


def _train_variant(
    variant: VariantConfig, rows: Rows, y: Booleans, config: ModelConfig, *, search: str, jobs: int
) -> tuple[FittedVariant, list[dict[str, Any]], dict[str, Any], Floats]:
    X = table(rows, numeric=variant.numeric, categorical=variant.categorical)
    seed = config.seed
    grid = list(variant.grid(search))
    models = _candidates(seed)
    named = [
        (f"{name}{' + SMOTE' if smote else ''}", _pipeline(variant, model, with_smote=smote, seed=seed))
        for name, model in models.items()
        for smote in (False, True)
    ]
    pipelines = [pipeline for _, pipeline in named] + [forest_pipeline(variant, each, seed=seed) for each in grid]
    scores = out_of_fold(
        pipelines, X, y, folds=config.folds, seed=seed, jobs=jobs, label=f"churn, {variant.name}: search"
    )
    calibrated = [_best_calibrated(each, y, config) for each in scores]
    best = int(np.argmin([log_loss(y, each) for _, each in calibrated[len(named) :]]))
    by, probabilities = calibrated[len(named) + best]
    labels = [name for name, _ in named] + [f"tuned random forest ({_spelled(grid[best])})"]
    shown = [*(each for _, each in calibrated[: len(named)]), probabilities]
    comparison = [
        {"variant": variant.name, "candidate": label, **classification(y, each)}
        for label, each in zip(labels, shown, strict=True)
    ]
    chosen = forest_pipeline(variant, grid[best], seed=seed)
    repeats = [
        out_of_fold(
            [chosen],
            X,
            y,
            folds=config.folds,
            seed=seed + repeat,
            jobs=jobs,
            label=f"churn, {variant.name}: calibration",
        )[0]
        for repeat in range(1, _CALIBRATION_REPEATS + 1)
    ]
    numbers = CALIBRATIONS[by](np.concatenate(repeats), np.tile(y, _CALIBRATION_REPEATS))
    chosen.fit(X, y)
    fitted = FittedVariant(variant.name, variant.needs, variant.numeric, variant.categorical, chosen, numbers)
    return fitted, comparison, {**grid[best], "calibration": by}, probabilities


def _best_calibrated(scores: Floats, y: Booleans, config: ModelConfig) -> tuple[str, Floats]:
    """The calibration with the least log loss, by name, and the probabilities that it gives."""
    tried = {by: cross_calibrated(scores, y, by=by, folds=config.folds, seed=config.seed) for by in CALIBRATIONS}
    best = min(tried, key=lambda by: float(log_loss(y, tried[by])))
    return best, tried[best]


def _spelled(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters.items())


def train(dataset: Dataset, config: ModelConfig, *, search: str, jobs: int, min_rows: int) -> TrainedChurn:
    """Fit every variant that the data allows.

    Args:
        dataset: training rows only.
        search: 'small' or 'full', as in the configuration.
        jobs: cores, -1 for all.
        min_rows: least number of rows with all that a variant needs; with fewer it is left out.
    """
    rows, y = dataset.rows, dataset.frame[CHURN].to_numpy(dtype=bool)
    trained = []
    for variant in config.variants:
        mine = known(rows, variant.needs)
        if _can_be_learnt(y[mine], min_rows=min_rows):
            trained.append(_train_variant(variant, rows.take(mine), y[mine], config, search=search, jobs=jobs))
    return TrainedChurn(
        variants=tuple(fitted for fitted, _, _, _ in trained),
        comparison=[row for _, comparison, _, _ in trained for row in comparison],
        chosen={fitted.name: parameters for fitted, _, parameters, _ in trained},
        probabilities=trained[0][3],
    )


def probabilities(variant: FittedVariant, rows: Rows) -> Floats:
    """Calibrated probabilities by the scikit-learn path, shape (n_rows,)."""
    return calibrate(variant.scores(rows), variant.numbers)
