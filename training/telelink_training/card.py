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
    "precision_at_best_f1",
    "recall_at_best_f1",
    "f1_at_best_f1",
)
_REGRESSION = ("variant", "candidate", "r2", "mae_usd", "rmse_usd")
_COSTS = ("onnx_kb", "us_per_row")


def comparison_table(comparison: Sequence[Mapping[str, Any]], costs: Sequence[Mapping[str, Any]]) -> str:
    """The candidates side by side with what each costs under ONNX, as Markdown."""
    columns = _CLASSIFICATION if "roc_auc" in comparison[0] else _REGRESSION
    rows = [{**candidate, **cost} for candidate, cost in zip(comparison, costs, strict=True)]
    return markdown_table(rows, (*columns, *_COSTS))


def measured_table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Metrics on rows that were not fitted on, with their intervals, a line for each variant, as Markdown."""
    figures = [name for name, value in next(iter(metrics.values())).items() if isinstance(value, (int, float))]
    return markdown_table([{"variant": name, **each} for name, each in metrics.items()], ["variant", *figures])


def best_cut_table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """The cut with the best F1 on the reported rows and what it gives, a line for each variant, as Markdown."""
    rows = [{"variant": name, **each["at_best_f1"]} for name, each in metrics.items()]
    return markdown_table(rows, ["variant", "cut", "precision", "recall", "f1"])


def coverage_table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Which share of values the interval covered, by variant and band of tenure, as Markdown."""
    rows = [
        {"variant": name, "tenure": band, **told}
        for name, each in metrics.items()
        for band, told in each["interval_coverage_by_tenure"].items()
    ]
    return markdown_table(rows, ["variant", "tenure", "rows", "coverage"])


def drivers_table(drivers: Mapping[str, Mapping[str, float]]) -> str:
    """The mean size of each group's contribution, a line for each group and a column for each variant, as Markdown."""
    groups = list(next(iter(drivers.values())))
    rows = [{"group": group, **{name: each[group] for name, each in drivers.items()}} for group in groups]
    return markdown_table(rows, ["group", *drivers])


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def model_card(
    *,
    title: str,
    what: str,
    dataset: Dataset,
    reported_on: str,
    measured: Sequence[str],
    drivers: str,
    reference: Mapping[str, str | float],
    comparison: str,
    details: Sequence[str],
    notes: Sequence[str],
) -> str:
    """The card as Markdown.

    Args:
        what: what it answers, in a sentence.
        reported_on: which rows the metrics were measured on.
        measured: tables and pictures of the metrics on those rows.
        drivers: what moves its answers on those rows.
        reference: the customer that this is told against.
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
            "None of these rows was fitted on, tuned on or calibrated on. In brackets: 95 % bootstrap intervals.",
            "",
            *[line for part in measured for line in (part, "")],
            "## What moves its answers",
            "",
            "Mean size of each group's exact Shapley value over the same rows, against the reference customer:",
            "",
            drivers,
            "",
            f"Reference customer: {', '.join(f'{name} {_plain(value)}' for name, value in reference.items())}.",
            "",
            "## Candidates, cross-validated on the training rows",
            "",
            "Mean and standard deviation over the repeats; size of the graph and median time of a single row under "
            "ONNX on the machine that trained.",
            "",
            comparison,
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
