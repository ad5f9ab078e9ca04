"""The line of steps from a data set to published model versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from telelink_shared.features import Floats, Rows, bill_usd, prepare
from telelink_training import churn, clv
from telelink_training.card import comparison_table, measured_table, model_card
from telelink_training.config import ModelConfig
from telelink_training.data import CHURN, LIFETIME_VALUE, DataError, Dataset, known, lifetime_value_usd
from telelink_training.evaluate import classification, regression
from telelink_training.export import FittedVariant, Release, golden_inputs, publish

MIN_VARIANT_ROWS: Final = 80
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


def release_churn(
    train: Dataset, test: Dataset, config: ModelConfig, *, search: str, jobs: int, models_dir: Path
) -> tuple[Path, str]:
    """Train, measure and publish the churn model: the new version's folder and what to print."""
    trained = churn.train(train, config, search=search, jobs=jobs, min_rows=MIN_VARIANT_ROWS)
    rows, left = test.rows, test.frame[CHURN].to_numpy(dtype=bool)
    measured = {}
    for variant in trained.variants:
        mine = known(rows, variant.needs)
        if len(np.unique(left[mine])) == 2:
            measured[variant.name] = classification(left[mine], churn.probabilities(variant, rows.take(mine)))
    golden = golden_inputs(train, n_rows=_GOLDEN_ROWS, seed=config.seed)
    golden_rows = prepare(golden, n_rows=_GOLDEN_ROWS)
    notes = [
        _TENURE_NOTE,
        "About one churner in seven looks like any other customer in the public data: no model finds these.",
    ]
    card = model_card(
        title="Churn model",
        what="The chance that a customer leaves, calibrated, from eleven fields and, where known, minutes of use.",
        dataset=train,
        reported_on=f"{len(test.frame):,} rows: {test.source}",
        measured=measured,
        comparison=trained.comparison,
        details=[
            *(f"Variant {name}: random forest with {parameters}." for name, parameters in trained.chosen.items()),
            "Scaled numbers and one-hot plans; state and area code are not used: cross-validation showed no gain.",
            "Calibrated on out-of-fold votes of the training rows by the better of two monotone methods, named above.",
            f"Seed {config.seed}, {config.folds} folds; the search minimises calibrated log loss.",
        ],
        notes=notes,
    )
    folder = publish(
        Release(
            model="churn",
            variants=trained.variants,
            dataset=train,
            metrics={"reported_on": test.source, "variants": measured},
            quantiles={"churn_probability": _quantiles(trained.probabilities)},
            notes=notes,
            golden_inputs=golden,
            golden_outputs=_outputs(
                trained.variants,
                golden_rows,
                lambda variant, rows: {"churn_probability": churn.probabilities(variant, rows)},
            ),
            tolerance={"churn_probability": 1e-4},
            card=card,
        ),
        models_dir,
    )
    return folder, _printed("churn", trained.comparison, measured)


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


def release_clv(
    train: Dataset, test: Dataset, values: LifetimeValues, config: ModelConfig, *, jobs: int, models_dir: Path
) -> tuple[Path, str]:
    """Train, measure and publish the lifetime-value model: the new version's folder and what to print."""
    trained = clv.train(train, values.train_usd, config, jobs=jobs, min_rows=MIN_VARIANT_ROWS)
    rows = test.rows
    measured = {}
    for variant in trained.variants:
        mine = known(rows, variant.needs)
        if mine.sum() < 2:
            continue
        predicted, target = clv.predictions(variant, rows.take(mine)), values.test_usd[mine]
        (half_width,) = variant.numbers[clv.HALF_WIDTH]
        inside = np.abs(target - predicted) <= half_width
        measured[variant.name] = {
            **regression(target, predicted),
            "interval_half_width_usd": half_width,
            "interval_coverage": float(inside.mean()),
        }
    golden = golden_inputs(train, n_rows=_GOLDEN_ROWS, seed=config.seed)
    golden_rows = prepare(golden, n_rows=_GOLDEN_ROWS)
    notes = [_TENURE_NOTE, *([SIMULATED_NOTE] if values.are_simulated else [])]
    card = model_card(
        title="Customer lifetime value model",
        what="What a customer is worth, in US dollars, with a 90 % interval.",
        dataset=train,
        reported_on=f"{len(test.frame):,} rows: {test.source}",
        measured=measured,
        comparison=trained.comparison,
        details=[
            "Linear regression over scaled numbers (with usage: the bill) and one-hot plans, no state or area code.",
            "The interval is conformal over cross-validated residuals: the same width for every customer of a variant.",
            f"Seed {config.seed}, {config.folds} folds.",
        ],
        notes=notes,
    )

    def outputs(variant: FittedVariant, rows: Rows) -> Mapping[str, Floats]:
        return {"estimated_clv": clv.predictions(variant, rows), "monthly_revenue": bill_usd(rows)}

    folder = publish(
        Release(
            model="clv",
            variants=trained.variants,
            dataset=train,
            metrics={"reported_on": test.source, "variants": measured},
            quantiles={"estimated_clv": _quantiles(trained.predictions)},
            notes=notes,
            golden_inputs=golden,
            golden_outputs=_outputs(trained.variants, golden_rows, outputs),
            tolerance={"estimated_clv": 0.01, "monthly_revenue": 0.01},
            card=card,
            data_facts={"target_is_simulated": values.are_simulated},
        ),
        models_dir,
    )
    return folder, _printed("clv", trained.comparison, measured)


def _printed(name: str, comparison: Sequence[Mapping[str, Any]], measured: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n".join(
        [
            "",
            f"{name}: candidates, cross-validated on the training rows",
            "",
            comparison_table(comparison),
            "",
            f"{name}: measured on rows that were not fitted on",
            "",
            measured_table(measured),
            "",
        ]
    )
