"""The churn model: a calibrated random forest, one for each variant, and the candidates it is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import Pipeline
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from telelink_shared.calibration import calibrate, calibrate_with_interval
from telelink_shared.customer import CATEGORIES
from telelink_shared.features import Floats, Rows, table
from telelink_training import calibrating
from telelink_training.config import ModelConfig, VariantConfig
from telelink_training.costs import onnx_costs
from telelink_training.data import CHURN, Dataset, known
from telelink_training.evaluate import Booleans, classification, over_repeats
from telelink_training.export import FittedVariant
from telelink_training.progress import in_parallel

# Of leavers and of stayers: each of five fits then sees the six that SMOTE needs.
_MIN_OF_EACH = 8


def encoder(numeric: Sequence[str], categorical: Sequence[str]) -> ColumnTransformer:
    """Scaling and one-hot for `features.table` of these features, in the order that `features.encode` has."""
    positions = [len(numeric) + position for position in range(len(categorical))]
    values = [np.arange(len(CATEGORIES[name].values), dtype=np.float64) for name in categorical]
    return ColumnTransformer(
        [
            ("scale", StandardScaler(), list(range(len(numeric)))),
            ("one_hot", OneHotEncoder(categories=values, sparse_output=False), positions),
        ]
    )


@dataclass(frozen=True)
class Candidate:
    """One way to learn, with the list of features that it learns from.

    Attributes:
        numeric: the features, in order.
        parameters: of a forest that was searched for; empty for the others.
    """

    label: str
    numeric: tuple[str, ...]
    pipeline: Pipeline
    parameters: Mapping[str, Any]


def forest(variant: VariantConfig, parameters: Mapping[str, Any], *, seed: int) -> Candidate:
    """Encoding, perhaps SMOTE, and the forest. Resampling sits inside, so that it never sees a validation row."""
    settings = dict(parameters)
    numeric = variant.features[settings.pop("features")]
    resampling = settings.pop("resampling", "none")
    weight = "balanced_subsample" if resampling == "class_weight" else None
    model = RandomForestClassifier(**settings, class_weight=weight, random_state=seed)
    with_smote = resampling == "smote"
    spelled = ", ".join(f"{name}={value}" for name, value in parameters.items())
    label = f"tuned random forest{' + SMOTE' if with_smote else ''} ({spelled})"
    pipeline = _pipeline(variant, numeric, model, with_smote=with_smote, seed=seed)
    return Candidate(label, numeric, pipeline, parameters)


def _pipeline(variant: VariantConfig, numeric: Sequence[str], model: Any, *, with_smote: bool, seed: int) -> Pipeline:
    resample = [("resample", SMOTE(random_state=seed))] if with_smote else []
    return Pipeline([("encode", encoder(numeric, variant.categorical)), *resample, ("model", model)])


def _untuned(variant: VariantConfig, numeric: tuple[str, ...], *, seed: int) -> list[Candidate]:
    """What the forest is compared with, each with and without SMOTE, on the same features."""
    models = {
        "logistic regression": LogisticRegression(max_iter=1000),
        "random forest": RandomForestClassifier(n_estimators=100, random_state=seed),
        "gradient boosting": GradientBoostingClassifier(random_state=seed),
    }
    return [
        Candidate(
            f"{name}{' + SMOTE' if smote else ''}",
            numeric,
            _pipeline(variant, numeric, model, with_smote=smote, seed=seed),
            {},
        )
        for name, model in models.items()
        for smote in (False, True)
    ]


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


def out_of_fold(
    learners: Sequence[tuple[Pipeline, Floats]],
    y: Booleans,
    *,
    folds: int,
    repeats: int,
    seed: int,
    jobs: int,
    label: str,
) -> list[list[Floats]]:
    """For each learner and repeat, the score of each row by a fit that did not see it; shape (n_rows,) each.

    Args:
        learners: pipelines, each with its own matrix of the same rows.
        repeats: how often all rows are divided into folds anew.
    """
    splits = [
        list(StratifiedKFold(folds, shuffle=True, random_state=seed + repeat).split(y, y)) for repeat in range(repeats)
    ]
    tasks = [_Fold(pipeline, X, y, *split) for pipeline, X in learners for each in splits for split in each]
    results = iter(in_parallel(_fold_scores, tasks, jobs=jobs, label=label))
    scores: list[list[Floats]] = []
    for _ in learners:
        mine = []
        for each in splits:
            values = np.empty(len(y))
            for _train, test in each:
                values[test] = next(results)
            mine.append(values)
        scores.append(mine)
    return scores


@dataclass(frozen=True)
class _Tried:
    """A candidate with what repeated cross-validation gave: scores and calibrated probabilities by repeat."""

    candidate: Candidate
    calibration: str
    scores: list[Floats]
    probabilities: list[Floats]
    log_loss: float


def _calibrated(
    candidate: Candidate, scores: list[Floats], y: Booleans, config: ModelConfig, *, among: Iterable[str]
) -> _Tried:
    """With the calibration that has the least log loss, on average over the repeats."""
    tried = []
    for by in among:
        probabilities = [
            calibrating.cross_calibrated(each, y, by=by, folds=config.folds, seed=config.seed + 1 + repeat)
            for repeat, each in enumerate(scores)
        ]
        loss = float(np.mean([log_loss(y, each) for each in probabilities]))
        tried.append(_Tried(candidate, by, scores, probabilities, loss))
    return min(tried, key=lambda each: each.log_loss)


@dataclass(frozen=True)
class TrainedVariant:
    """One variant with what is told of how it came about.

    Attributes:
        fitted: the forest, on all rows that have what it needs.
        comparison: a row for each candidate, cross-validated on the training rows.
        costs: of each candidate under ONNX, in the same order; timings differ from run to run.
        chosen: the forest's parameters and its calibration.
        probabilities: out-of-fold calibrated probabilities over its training rows, mean of the repeats.
    """

    fitted: FittedVariant
    comparison: list[dict[str, Any]]
    costs: list[dict[str, Any]]
    chosen: dict[str, Any]
    probabilities: Floats


@dataclass(frozen=True)
class TrainedChurn:
    """What training the churn model gave: its variants, best first."""

    variants: tuple[TrainedVariant, ...]

    @property
    def fitted(self) -> tuple[FittedVariant, ...]:
        """What is published."""
        return tuple(variant.fitted for variant in self.variants)


def _can_be_learnt(y: Booleans, *, min_rows: int) -> bool:
    return len(y) >= min_rows and min(int(y.sum()), int((~y).sum())) >= _MIN_OF_EACH


def _with_best_cut(measured: dict[str, Any]) -> dict[str, Any]:
    return measured | {
        f"{figure}_at_best_f1": measured["at_best_f1"][figure] for figure in ("precision", "recall", "f1")
    }


@dataclass(frozen=True)
class _Training:
    """One variant's rows and how they are validated."""

    variant: VariantConfig
    rows: Rows
    y: Booleans
    config: ModelConfig
    repeats: int
    jobs: int

    def matrix(self, candidate: Candidate) -> Floats:
        return table(self.rows, numeric=candidate.numeric, categorical=self.variant.categorical)

    def tried(self, candidates: Sequence[Candidate], *, label: str) -> list[_Tried]:
        scores = out_of_fold(
            [(each.pipeline, self.matrix(each)) for each in candidates],
            self.y,
            folds=self.config.folds,
            repeats=self.repeats,
            seed=self.config.seed,
            jobs=self.jobs,
            label=f"churn, {self.variant.name}: {label}",
        )
        return [
            _calibrated(candidate, mine, self.y, self.config, among=calibrating.QUICK)
            for candidate, mine in zip(candidates, scores, strict=True)
        ]

    def compared(self, tried: _Tried) -> dict[str, Any]:
        measured = [_with_best_cut(classification(self.y, each)) for each in tried.probabilities]
        return {"variant": self.variant.name, "candidate": tried.candidate.label, **over_repeats(measured)}

    def costs(self, candidate: Candidate) -> dict[str, Any]:
        X = self.matrix(candidate)
        return onnx_costs(candidate.pipeline.fit(X, self.y), X)


def _train_variant(training: _Training, *, search: str) -> TrainedVariant:
    variant, seed = training.variant, training.config.seed
    forests = [forest(variant, parameters, seed=seed) for parameters in variant.grid(search)]
    searched = sorted(training.tried(forests, label="search"), key=lambda each: each.log_loss)
    first = searched[0]
    best = _calibrated(first.candidate, first.scores, training.y, training.config, among=calibrating.CALIBRATIONS)
    with_smote = [each for each in searched if each.candidate.parameters.get("resampling") == "smote"][:1]
    untuned = _untuned(variant, best.candidate.numeric, seed=seed) if variant.compare else []
    others = training.tried(untuned, label="comparison")
    shown = [*others, *(each for each in with_smote if each is not first), best]
    costs = [training.costs(each.candidate) for each in shown]
    numbers = calibrating.table(best.scores, training.y, by=best.calibration)
    return TrainedVariant(
        fitted=FittedVariant(
            name=variant.name,
            needs=variant.needs,
            numeric=best.candidate.numeric,
            categorical=variant.categorical,
            pipeline=best.candidate.pipeline,  # fitted on all rows by `costs`
            numbers={
                name: tuple(values.tolist())
                for name, values in calibrating.with_interval(numbers, best.scores, training.y).items()
            },
        ),
        comparison=[training.compared(each) for each in shown],
        costs=costs,
        chosen={**best.candidate.parameters, "calibration": best.calibration},
        probabilities=np.mean(best.probabilities, axis=0),
    )


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
            training = _Training(variant, rows.take(mine), y[mine], config, config.repeats[search], jobs)
            trained.append(_train_variant(training, search=search))
    return TrainedChurn(tuple(trained))


def probabilities(variant: FittedVariant, rows: Rows) -> Floats:
    """Calibrated probabilities by the scikit-learn path, shape (n_rows,)."""
    return calibrate(variant.scores(rows), variant.numbers)


OUTPUTS: Final = ("churn_probability", "churn_lower", "churn_upper")


def outputs(variant: FittedVariant, rows: Rows) -> dict[str, Floats]:
    """All that the service answers, by the scikit-learn path; shape (n_rows,) each."""
    answers = calibrate_with_interval(variant.scores(rows), variant.numbers)
    return dict(zip(OUTPUTS, answers, strict=True))
