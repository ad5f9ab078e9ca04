"""The model card: what a version is, what it was measured at, and what it must not be used for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from telelink_training.data import Dataset
from telelink_training.evaluate import markdown_table

_CLASSIFICATION = (
    "variant",
    "candidate",
    "accuracy",
    "precision",
    "recall",
    "f1",
    "roc_auc",
    "average_precision",
    "log_loss",
    "brier",
    "expected_calibration_error",
)
_REGRESSION = ("variant", "candidate", "r2", "mae_usd", "rmse_usd")


def comparison_table(comparison: Sequence[Mapping[str, Any]]) -> str:
    """The candidates side by side, as Markdown."""
    columns = _CLASSIFICATION if "roc_auc" in comparison[0] else _REGRESSION
    return markdown_table(comparison, columns)


def measured_table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Metrics on rows that were not fitted on, a line for each variant, as Markdown."""
    rows = [
        {"variant": name, **{key: value for key, value in each.items() if not isinstance(value, dict)}}
        for name, each in metrics.items()
    ]
    return markdown_table(rows, list(rows[0]))


def model_card(
    *,
    title: str,
    what: str,
    dataset: Dataset,
    reported_on: str,
    measured: Mapping[str, Mapping[str, Any]],
    comparison: Sequence[Mapping[str, Any]],
    details: Sequence[str],
    notes: Sequence[str],
) -> str:
    """The card as Markdown.

    Args:
        what: what it answers, in a sentence.
        reported_on: which rows the metrics were measured on.
        measured: metrics by variant, on those rows.
        comparison: candidates, cross-validated on the training rows.
        details: how it was made, a sentence each.
        notes: limits, a sentence each.
    """
    return "\n".join(
        [
            f"# {title}",
            "",
            what,
            "",
            f"Trained on {len(dataset.frame):,} rows: {dataset.source}.",
            "",
            f"## Measured on {reported_on}",
            "",
            "None of these rows was fitted on, tuned on or calibrated on.",
            "",
            measured_table(measured),
            "",
            "## Candidates, cross-validated on the training rows",
            "",
            comparison_table(comparison),
            "",
            "## How it was made",
            "",
            *[f"- {sentence}" for sentence in details],
            "",
            "## Limits",
            "",
            *[f"- {sentence}" for sentence in notes],
            "",
        ]
    )
