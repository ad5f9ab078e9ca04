"""The line of steps from a data set to published model versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from telelink_shared.calibration import calibrate, calibrate_with_interval
from telelink_shared.customer import CATEGORIES
from telelink_shared.features import Floats, Rows, encode, prepare
from telelink_shared.serving.engine import OnnxEngine
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
from telelink_training.data import CHURN, LIFETIME_VALUE, DataError, Dataset, formula_usd, known, lifetime_value_usd
from telelink_training.drivers import drivers, reference_customer
from telelink_training.evaluate import (
    bootstrap,
    classification,
    named_intervals,
    regression,
    reliability,
    weighted_classification,
    weighted_regression,
)
from telelink_training.export import FittedVariant, Release, golden_inputs, onnx_graph, publish

MIN_VARIANT_ROWS: Final = 80
RELIABILITY: Final = "reliability.svg"
RESIDUALS: Final = "residuals.svg"
_LEVELS: Final = ("0.05", "0.25", "0.5", "0.75", "0.9", "0.95")
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


def _spelled(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters.items())


def _verdicts(comparison: Sequence[Mapping[str, Any]], *, served: str, figure: str) -> list[str]:
    """For each variant with other candidates: how the served kind of model does against the best of other kinds."""
    sentences = []
    for variant in dict.fromkeys(row["variant"] for row in comparison):
        rows = sorted((row for row in comparison if row["variant"] == variant), key=lambda row: float(row[figure]))
        mine = [row for row in rows if row["candidate"].startswith(served)]
        others = [row for row in rows if served.removeprefix("tuned ") not in row["candidate"]]
        if not others:
            continue
        best, other = mine[0], others[0]
        ahead, spread = best[figure] - other[figure], max(best["spread"][figure], other["spread"][figure])
        word = (
            "is better"
            if ahead <= 0
            else "is no worse than chance allows"
            if ahead <= 2 * spread
            else "is clearly worse"
        )
        sentences.append(
            f"Variant {variant}: the served {served} {word} ({figure} {best[figure]:.4g}; the best of other kinds, "
            f"{other['candidate'].partition(' (')[0]}, {other[figure]:.4g})."
        )
    return sentences


@dataclass(frozen=True)
class _Reported:
    """The reported rows that one variant can answer, with its answers; all arrays of the same length."""

    variant: FittedVariant
    rows: Rows
    truth: np.ndarray[Any, Any]
    answers: Floats


def _limits(train: Dataset) -> str:
    return (
        f"Knows the {len(train.frame):,} customers that it was trained on and none of another time or operator: train "
        "on your own before acting on money."
    )


def _not_found(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """How many leavers even the best cut of the best variant passes over, on the reported rows."""
    name, first = next(iter(measured.items()))
    return (
        f"Of the reported leavers {1 - first['at_best_f1']['recall']:.0%} look like customers who stay, even to "
        f"variant {name} at its best cut."
    )


def _inputs(variants: Sequence[FittedVariant]) -> str:
    """Which words the variants take, and which they leave alone."""
    used = {name for variant in variants for name in variant.categorical}
    spelled = {
        is_used: " and ".join(name for name in CATEGORIES if (name in used) is is_used) for is_used in (True, False)
    }
    left = f"; {spelled[False]}: left out, by the configuration" if spelled[False] else ""
    return f"Scaled numbers, and {spelled[True]} in one-hot form{left}."


def _widths(reported: Sequence[_Reported]) -> str:
    widths = [
        f"{each.variant.name} {float((upper - lower).mean()):.4f}"
        for each in reported
        for _, lower, upper in [calibrate_with_interval(each.variant.scores(each.rows), each.variant.numbers)]
    ]
    return f"Its mean width on the reported rows: {', '.join(widths)}."


def _told(reported: Sequence[_Reported], config: ModelConfig) -> list[_Reported]:
    """Those whose drivers and plots are told."""
    names = {variant.name for variant in config.variants if variant.compare}
    return [each for each in reported if each.variant.name in names] or list(reported)


def _reported_churn(variants: Sequence[FittedVariant], test: Dataset) -> list[_Reported]:
    rows, left = test.rows, test.frame[CHURN].to_numpy(dtype=bool)
    reported = []
    for variant in variants:
        mine = known(rows, variant.needs)
        if len(np.unique(left[mine])) == 2:
            answerable = rows.take(mine)
            reported.append(_Reported(variant, answerable, left[mine], churn.probabilities(variant, answerable)))
    return reported


def _churn_answer(engine: OnnxEngine, variant: FittedVariant, rows: Rows) -> Floats:
    """As served: the graph takes a hundredth of the pipeline's time for the many rows that Shapley values ask for."""
    return calibrate(engine.score(variant.name, encode(rows, variant.encoding)), variant.numbers)


def _measured_churn(reported: _Reported, *, seed: int) -> dict[str, Any]:
    left, stated = reported.truth, reported.answers
    intervals = bootstrap(lambda weights: weighted_classification(left, stated, weights), len(left), seed=seed)
    return {**classification(left, stated), **named_intervals(intervals), "reliability": reliability(left, stated)}


def release_churn(
    train: Dataset, test: Dataset, config: ModelConfig, *, search: str, jobs: int, models_dir: Path
) -> tuple[Path, str]:
    """Train, measure and publish the churn model: the new version's folder and what to print."""
    trained = churn.train(train, config, search=search, jobs=jobs, min_rows=MIN_VARIANT_ROWS)
    graph, reference = onnx_graph(trained.fitted), reference_customer(train)
    engine = OnnxEngine(graph, [variant.name for variant in trained.fitted])
    reported = _reported_churn(trained.fitted, test)
    measured = {each.variant.name: _measured_churn(each, seed=config.seed) for each in reported}
    moved_by = {
        each.variant.name: drivers(partial(_churn_answer, engine, each.variant), each.rows, reference)
        for each in _told(reported, config)
    }
    golden = golden_inputs(train, trained.fitted, seed=config.seed)
    golden_rows = prepare(golden, n_rows=len(next(iter(golden.values()))))
    notes = [_limits(train), *([_not_found(measured)] if measured else [])]
    chosen = {each.fitted.name: each.chosen for each in trained.variants}
    comparison = [row for variant in trained.variants for row in variant.comparison]
    compared = comparison_table(comparison, [row for variant in trained.variants for row in variant.costs])
    card = model_card(
        title="Churn model",
        what="The chance that a customer leaves, calibrated, from eleven fields and the minutes of use that are known.",
        dataset=train,
        reported_on=f"{len(test.frame):,} rows: {test.source}",
        measured=[
            measured_table(measured),
            "At the cut with the best F1 on these rows:",
            best_cut_table(measured),
            f"![Share that left against stated probability]({RELIABILITY})",
        ],
        drivers=drivers_table(moved_by),
        reference=reference,
        comparison=compared,
        details=[
            *_verdicts(comparison, served="tuned random forest", figure="log_loss"),
            "The forest was searched for on the folds that it is compared on, the others were not searched for. A "
            "forest is served whatever the comparison says: no other kind is exported.",
            *(f"Variant {each.fitted.name}: random forest, {_spelled(each.chosen)}." for each in trained.variants),
            "A customer is answered by the first variant, in the order above, of which all minutes are known.",
            _inputs(trained.fitted),
            "Calibrated on out-of-fold votes of the training rows by the best of three monotone methods, named above.",
            "The interval is Venn-ABERS on the same votes: what calibration leaves open, not how far another sample of "
            f"customers would have moved the forest. {_widths(reported)}",
            f"Seed {config.seed}, {config.folds} folds, {config.repeats[search]} repeats; the search minimises "
            "calibrated log loss.",
        ],
        notes=notes,
    )
    picture = plots.reliability({each.variant.name: (each.truth, each.answers) for each in _told(reported, config)})
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


def _noise_alone(test: Dataset, values: LifetimeValues) -> list[str]:
    """How far the formula behind simulated values is off: what no model can be expected to undercut."""
    figures = regression(values.test_usd, formula_usd(test))
    return [
        f"The formula itself, without its noise, is off by {figures['mae_usd']:.0f} (MAE) and "
        f"{figures['rmse_usd']:.0f} (RMSE) on the reported rows, with R2 {figures['r2']:.4f}: no model can be "
        "expected to do better."
    ]


def _reported_clv(variants: Sequence[FittedVariant], test: Dataset, test_usd: Floats) -> list[_Reported]:
    rows, reported = test.rows, []
    for variant in variants:
        mine = known(rows, variant.needs)
        if mine.sum() >= 2:
            answerable = rows.take(mine)
            reported.append(_Reported(variant, answerable, test_usd[mine], clv.predictions(variant, answerable)))
    return reported


def _clv_answer(engine: OnnxEngine, variant: FittedVariant, rows: Rows) -> Floats:
    return np.maximum(engine.score(variant.name, encode(rows, variant.encoding)), 0.0)


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
    engine = OnnxEngine(graph, [variant.name for variant in trained.fitted])
    reported = _reported_clv(trained.fitted, test, values.test_usd)
    measured = {each.variant.name: _measured_clv(each, seed=config.seed) for each in reported}
    moved_by = {
        each.variant.name: drivers(partial(_clv_answer, engine, each.variant), each.rows, reference)
        for each in _told(reported, config)
    }
    golden = golden_inputs(train, trained.fitted, seed=config.seed)
    golden_rows = prepare(golden, n_rows=len(next(iter(golden.values()))))
    notes = [_limits(train), *([SIMULATED_NOTE, *_noise_alone(test, values)] if values.are_simulated else [])]
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
            coverage_table({each.variant.name: measured[each.variant.name] for each in _told(reported, config)}),
            f"![True less predicted value; dashed: the interval]({RESIDUALS})",
        ],
        drivers=drivers_table(moved_by),
        reference=reference,
        comparison=compared,
        details=[
            *_verdicts(comparison, served="linear regression", figure="rmse_usd"),
            *(f"Variant {each.fitted.name}: linear regression, {_spelled(each.chosen)}." for each in trained.variants),
            _inputs(trained.fitted),
            "The interval is conformal over cross-validated residuals: the same width for every customer of a variant.",
            f"Seed {config.seed}, {config.folds} folds, {config.repeats[search]} repeats.",
        ],
        notes=notes,
    )
    picture = plots.residuals(
        {
            each.variant.name: (each.truth, each.answers, float(each.variant.numbers[clv.HALF_WIDTH][0]))
            for each in _told(reported, config)
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
