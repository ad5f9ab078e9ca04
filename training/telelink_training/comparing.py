"""Two versions of a model on the same customers: figures with intervals of their difference, and changed decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, get_args

import numpy as np

from telelink_shared.decision import Policy, Tier, tier_of
from telelink_shared.features import Floats
from telelink_training.data import CHURN, Dataset, lifetime_value_usd
from telelink_training.evaluate import bootstrap, markdown_table, weighted_classification, weighted_regression
from telelink_training.published import Answers, PublishedModel

_TIERS: Final[tuple[Tier, ...]] = get_args(Tier)
_HIGH_VALUE: Final = "0.75"

Measure = Callable[[Floats, Floats], Mapping[str, Floats]]
"""Figures of answers for many weightings of the same rows."""


def _figures(measure: Measure, old: Floats, new: Floats, *, seed: int) -> str:
    """Old, new and their difference, with the interval of the difference over the same resampled rows."""
    once = np.ones((1, len(old)))
    before, after = measure(old, once), measure(new, once)

    def differences(weights: Floats) -> dict[str, Floats]:
        of_old, of_new = measure(old, weights), measure(new, weights)
        return {name: of_new[name] - of_old[name] for name in of_old}

    intervals = bootstrap(differences, len(old), seed=seed)
    rows = [
        {
            "figure": name,
            "old": float(before[name][0]),
            "new": float(after[name][0]),
            "difference": float(after[name][0] - before[name][0]),
            "difference_interval": intervals[name],
        }
        for name in before
    ]
    return markdown_table(rows, ["figure", "old", "new", "difference"])


def _tiers(probabilities: Floats) -> np.ndarray[Any, np.dtype[np.intp]]:
    policy = Policy()
    return np.array([_TIERS.index(tier_of(each, policy)) for each in probabilities.tolist()], dtype=np.intp)


def _changed_tiers(old: Floats, new: Floats) -> list[str]:
    before, after = _tiers(old), _tiers(new)
    n_up, n_down = int((after > before).sum()), int((after < before).sum())
    rows: list[dict[str, Any]] = [
        {
            "old \\ new": tier,
            **{other: int(((before == row) & (after == column)).sum()) for column, other in enumerate(_TIERS)},
        }
        for row, tier in enumerate(_TIERS)
    ]
    return [
        f"{n_up + n_down:,} of {len(old):,} customers change tier: {n_up:,} rise, {n_down:,} fall.",
        "",
        markdown_table(rows, list(rows[0])),
    ]


def _changed_values(old: PublishedModel, new: PublishedModel, old_usd: Floats, new_usd: Floats) -> list[str]:
    was, becomes = (
        answers >= model.manifest.quantiles["estimated_clv"][_HIGH_VALUE]
        for model, answers in ((old, old_usd), (new, new_usd))
    )
    n_up, n_down = int((becomes & ~was).sum()), int((was & ~becomes).sum())
    return [
        f"{n_up + n_down:,} of {len(old_usd):,} customers change between high-value and not: {n_up:,} become "
        f"high-value, {n_down:,} no longer are."
    ]


def _seen(models: Sequence[tuple[str, PublishedModel]], dataset: Dataset) -> list[str]:
    return [
        f"Beware: the {word} version was trained on {seen}; its figures here are too good."
        for word, model in models
        if (seen := model.seen_of(dataset))
    ]


def _answered(models: Sequence[tuple[str, Answers]]) -> list[str]:
    told = []
    for word, answers in models:
        names, counts = np.unique(answers.variants.astype(str), return_counts=True)
        told.append(f"{word}: " + ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True)))
    return [f"Rows answered by each variant: {'; '.join(told)}."]


def compare(old: PublishedModel, new: PublishedModel, dataset: Dataset, *, seed: int) -> str:
    """What an analyst looks at before a version is promoted, as text.

    Args:
        old, new: versions of the same model.
        dataset: customers with outcomes; best such as neither was trained on.
        seed: of the resampling, and of a simulated lifetime value.

    Raises:
        DataError: a lifetime value would have to be simulated, and cannot be.
    """
    name = old.manifest.model
    rows = dataset.rows
    old_answers, new_answers = old.answers(rows), new.answers(rows)
    if name == "churn":
        left = dataset.frame[CHURN].to_numpy(bool)
        figures = _figures(
            lambda stated, weights: weighted_classification(left, stated, weights),
            old_answers.values,
            new_answers.values,
            seed=seed,
        )
        changed = _changed_tiers(old_answers.values, new_answers.values)
    else:
        target, _ = lifetime_value_usd(dataset, seed=seed)
        figures = _figures(
            lambda predicted, weights: weighted_regression(target, predicted, weights),
            old_answers.values,
            new_answers.values,
            seed=seed,
        )
        changed = _changed_values(old, new, old_answers.values, new_answers.values)
    models = (("old", old), ("new", new))
    return "\n".join(
        [
            f"{name}: version {old.manifest.version} (old) and version {new.manifest.version} (new) on the same "
            f"{rows.n_rows:,} rows ({dataset.source})",
            "",
            *_seen(models, dataset),
            *_answered([("old", old_answers), ("new", new_answers)]),
            "In brackets: 95 % interval of the difference, by resampling the same rows for both.",
            "",
            figures,
            "",
            *changed,
            "",
        ]
    )
