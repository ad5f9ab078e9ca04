"""The line of steps from a data set to published model versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from telelink_shared.calibration import calibrate
from telelink_shared.features import Floats, Rows, prepare
from telelink_training import churn, clv, plots
from telelink_training.card import (
    best_cut_table,
    comparison_table,
    coverage_table,
    drivers_table,
    measured_table,
    model_card,
)
from telelink_training.config import ModelConfig
from telelink_training.data import CHURN, LIFETIME_VALUE, DataError, Dataset, known, lifetime_value_usd
from telelink_training.drivers import drivers, reference_customer
from telelink_training.evaluate import (
    bootstrap,
    classification,
    named_intervals,
    regression,
    weighted_classification,
    weighted_regression,
)
from telelink_training.export import FittedVariant, Release, golden_inputs, onnx_graph, publish

MIN_VARIANT_ROWS: Final = 80
RELIABILITY: Final = "reliability.svg"
RESIDUALS: Final = "residuals.svg"
_GOLDEN_ROWS: Final = 16
_LEVELS: Final = ("0.05", "0.25", "0.5", "0.75", "0.9", "0.95")
_TENURE_NOTE: Final = (
    "Knows one carrier, one month of use and US states; train on your own customers before acting on money."
)
SIMULATED_NOTE: Final = (
    "The lifetime value is simulated: the training data has no revenue history. Its target is 100 for each day of "
    "tenure + 35 for each dollar of the bill + 500 for the international plan + 300 for the voice mail plan + normal "
    "noise (sd 1,000), at least 50."
)


def _quantiles(values: Floats) -> dict[str, float]:
    return {level: float(np.quantile(values, float(level))) for level in _LEVELS}


def _outputs(
    variants: Sequence[FittedVariant], rows: Rows, of_variant: Callable[[FittedVariant, Rows], Mapping[str, Floats]]
) -> dict[str, list[float | None]]:
    """Each row answered by the first variant whose needs are known, as in a service; None where nothing is known."""
    outputs: dict[str, Floats] = {}
    open_rows = np.ones(rows.n_rows, dtype=bool)
    for variant in variants:
        mine = open_rows & known(rows, variant.needs)
        open_rows &= ~mine
        if mine.any():
            for name, values in of_variant(variant, rows.take(mine)).items():
                outputs.setdefault(name, np.full(rows.n_rows, np.nan))[mine] = values
    return {name: [None if np.isnan(value) else float(value) for value in values] for name, values in outputs.items()}


@dataclass(frozen=True)
class _Reported:
    """The reported rows that one variant can answer, with its answers; all arrays of the same length."""

    variant: FittedVariant
    rows: Rows
    truth: np.ndarray[Any, Any]
    answers: Floats


def _reported_churn(variants: Sequence[FittedVariant], test: Dataset) -> list[_Reported]:
    rows, left = test.rows, test.frame[CHURN].to_numpy(dtype=bool)
    reported = []
    for variant in variants:
        mine = known(rows, variant.needs)
        if len(np.unique(left[mine])) == 2:
            answerable = rows.take(mine)
            reported.append(_Reported(variant, answerable, left[mine], churn.probabilities(variant, answerable)))
    return reported


def _measured_churn(reported: _Reported, *, seed: int) -> dict[str, Any]:
    left, stated = reported.truth, reported.answers
    intervals = bootstrap(lambda weights: weighted_classification(left, stated, weights), len(left), seed=seed)
    return {**classification(left, stated), **named_intervals(intervals)}


def release_churn(
    train: Dataset, test: Dataset, config: ModelConfig, *, search: str, jobs: int, models_dir: Path
) -> tuple[Path, str]:
    """Train, measure and publish the churn model: the new version's folder and what to print."""
    trained = churn.train(train, config, search=search, jobs=jobs, min_rows=MIN_VARIANT_ROWS)
    graph, reference = onnx_graph(trained.fitted), reference_customer(train)
    reported = _reported_churn(trained.fitted, test)
    measured = {each.variant.name: _measured_churn(each, seed=config.seed) for each in reported}
    moved_by = {
        each.variant.name: drivers(graph, each.variant, each.rows, reference, partial(_calibrated, each.variant))
        for each in reported
    }
    golden = golden_inputs(train, n_rows=_GOLDEN_ROWS, seed=config.seed)
    golden_rows = prepare(golden, n_rows=_GOLDEN_ROWS)
    notes = [
        _TENURE_NOTE,
        "About one churner in seven looks like any other customer in the public data: no model finds these.",
    ]
    chosen = {each.fitted.name: each.chosen for each in trained.variants}
    comparison = [row for variant in trained.variants for row in variant.comparison]
    compared = comparison_table(comparison, [row for variant in trained.variants for row in variant.costs])
    card = model_card(
        title="Churn model",
        what="The chance that a customer leaves, calibrated, from eleven fields and, where known, minutes of use.",
        dataset=train,
        reported_on=f"{len(test.frame):,} rows: {test.source}",
        measured=[
            measured_table(measured),
            "At the cut with the best F1 on these rows:",
            best_cut_table(measured),
            f"![Share that left against stated probability]({RELIABILITY})",
        ],
        drivers=drivers_table(moved_by),
        comparison=compared,
        details=[
            *(f"Variant {each.fitted.name}: random forest with {each.chosen}." for each in trained.variants),
            "Scaled numbers and one-hot plans; state and area code are not used: cross-validation showed no gain.",
            "Calibrated on out-of-fold votes of the training rows by the best of three monotone methods, named above; "
            "the interval is Venn-ABERS on the same votes.",
            f"Seed {config.seed}, {config.folds} folds, {config.repeats[search]} repeats; the search minimises "
            "calibrated log loss.",
        ],
        notes=notes,
    )
    picture = plots.reliability({each.variant.name: (each.truth, each.answers) for each in reported})
    folder = publish(
        Release(
            model="churn",
            variants=trained.fitted,
            graph=graph,
            dataset=train,
            metrics={"reported_on": test.source, "variants": measured, "drivers": moved_by, "chosen": chosen},
            quantiles={"churn_probability": _quantiles(trained.variants[0].probabilities)},
            notes=notes,
            reference=reference,
            golden_inputs=golden,
            golden_outputs=_outputs(
                trained.fitted,
                golden_rows,
                churn.outputs,
            ),
            tolerance=dict.fromkeys(churn.OUTPUTS, 1e-4),
            card=card,
            plots={RELIABILITY: plots.svg(picture)},
        ),
        models_dir,
    )
    return folder, _printed("churn", compared, measured)


def _calibrated(variant: FittedVariant, scores: Floats) -> Floats:
    return calibrate(scores, variant.numbers)


@dataclass(frozen=True)
class LifetimeValues:
    """What the value model learns and is measured by, in US dollars; shape (n_rows,) each."""

    train_usd: Floats
    test_usd: Floats
    are_simulated: bool


def lifetime_values(train: Dataset, test: Dataset, *, seed: int) -> LifetimeValues:
    """The targets of both sets of rows.

    Raises:
        DataError: only one of them has lifetime values, or they cannot be simulated.
    """
    train_usd, is_simulated = lifetime_value_usd(train, seed=seed)
    test_usd, test_is_simulated = lifetime_value_usd(test, seed=seed + 1)
    if is_simulated != test_is_simulated:
        without = train if is_simulated else test
        raise DataError(f"column {LIFETIME_VALUE}: missing in all {len(without.frame)} rows of {without.source} only")
    return LifetimeValues(train_usd, test_usd, is_simulated)


def _reported_clv(variants: Sequence[FittedVariant], test: Dataset, test_usd: Floats) -> list[_Reported]:
    rows, reported = test.rows, []
    for variant in variants:
        mine = known(rows, variant.needs)
        if mine.sum() >= 2:
            answerable = rows.take(mine)
            reported.append(_Reported(variant, answerable, test_usd[mine], clv.predictions(variant, answerable)))
    return reported


def _measured_clv(reported: _Reported, *, seed: int) -> dict[str, Any]:
    target, predicted = reported.truth, reported.answers
    (half_width,) = reported.variant.numbers[clv.HALF_WIDTH]
    inside = np.abs(target - predicted) <= half_width

    def figures(weights: Floats) -> dict[str, Floats]:
        covered = weights @ inside / weights.sum(axis=1)
        return {**weighted_regression(target, predicted, weights), "interval_coverage": covered}

    return {
        **regression(target, predicted),
        "interval_half_width_usd": half_width,
        "interval_coverage": float(inside.mean()),
        **named_intervals(bootstrap(figures, len(target), seed=seed)),
        "interval_coverage_by_tenure": clv.coverage_by_tenure(reported.rows, inside),
    }


def release_clv(
    train: Dataset,
    test: Dataset,
    values: LifetimeValues,
    config: ModelConfig,
    *,
    search: str,
    jobs: int,
    models_dir: Path,
) -> tuple[Path, str]:
    """Train, measure and publish the lifetime-value model: the new version's folder and what to print."""
    trained = clv.train(train, values.train_usd, config, search=search, jobs=jobs, min_rows=MIN_VARIANT_ROWS)
    graph, reference = onnx_graph(trained.fitted), reference_customer(train)
    reported = _reported_clv(trained.fitted, test, values.test_usd)
    measured = {each.variant.name: _measured_clv(each, seed=config.seed) for each in reported}
    moved_by = {
        each.variant.name: drivers(graph, each.variant, each.rows, reference, partial(np.maximum, 0.0))
        for each in reported
    }
    golden = golden_inputs(train, n_rows=_GOLDEN_ROWS, seed=config.seed)
    golden_rows = prepare(golden, n_rows=_GOLDEN_ROWS)
    notes = [_TENURE_NOTE, *([SIMULATED_NOTE] if values.are_simulated else [])]
    chosen = {each.fitted.name: each.chosen for each in trained.variants}
    comparison = [row for variant in trained.variants for row in variant.comparison]
    compared = comparison_table(comparison, [row for variant in trained.variants for row in variant.costs])
    card = model_card(
        title="Customer lifetime value model",
        what="What a customer is worth, in US dollars, with a 90 % interval.",
        dataset=train,
        reported_on=f"{len(test.frame):,} rows: {test.source}",
        measured=[
            measured_table(measured),
            "How often the interval covered the value, by tenure:",
            coverage_table(measured),
            f"![True less predicted value; dashed: the interval]({RESIDUALS})",
        ],
        drivers=drivers_table(moved_by),
        comparison=compared,
        details=[
            *(f"Variant {each.fitted.name}: linear regression with {each.chosen}." for each in trained.variants),
            "Scaled numbers (with usage: the bill) and one-hot plans, no state or area code.",
            "The interval is conformal over cross-validated residuals: the same width for every customer of a variant.",
            f"Seed {config.seed}, {config.folds} folds, {config.repeats[search]} repeats.",
        ],
        notes=notes,
    )
    picture = plots.residuals(
        {
            each.variant.name: (each.truth, each.answers, float(each.variant.numbers[clv.HALF_WIDTH][0]))
            for each in reported
        }
    )

    folder = publish(
        Release(
            model="clv",
            variants=trained.fitted,
            graph=graph,
            dataset=train,
            metrics={"reported_on": test.source, "variants": measured, "drivers": moved_by, "chosen": chosen},
            quantiles={"estimated_clv": _quantiles(trained.variants[0].predictions)},
            notes=notes,
            reference=reference,
            golden_inputs=golden,
            golden_outputs=_outputs(trained.fitted, golden_rows, clv.outputs),
            tolerance=dict.fromkeys(clv.OUTPUTS, 0.01),
            card=card,
            plots={RESIDUALS: plots.svg(picture)},
            data_facts={"target_is_simulated": values.are_simulated},
        ),
        models_dir,
    )
    return folder, _printed("clv", compared, measured)


def _printed(name: str, comparison: str, measured: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n".join(
        [
            "",
            f"{name}: candidates, cross-validated on the training rows",
            "",
            comparison,
            "",
            f"{name}: measured on rows that were not fitted on",
            "",
            measured_table(measured),
            "",
        ]
    )
