"""A report on one version and any customers with outcomes: a single HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from telelink_shared.features import Floats, Rows
from telelink_training import plots
from telelink_training.clv import coverage_by_tenure
from telelink_training.data import CHURN, DataError, Dataset, known, lifetime_value_usd
from telelink_training.drivers import drivers
from telelink_training.evaluate import (
    best_f1,
    bootstrap,
    classification,
    named_intervals,
    regression,
    shown,
    weighted_classification,
    weighted_regression,
)
from telelink_training.published import PublishedModel

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2733; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 0.9rem; }
th, td { border-bottom: 1px solid #d5dde5; padding: 0.3rem 0.7rem; text-align: left; }
figure { margin: 1.5rem 0; } img { max-width: 100%; } figcaption { color: #51606f; font-size: 0.9rem; }
"""


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    head = "".join(f"<th scope='col'>{escape(column.replace('_', ' '))}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(shown(row, column))}</td>" for column in columns) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _picture(figure: Figure, caption: str) -> str:
    image = base64.b64encode(plots.svg(figure)).decode()
    text = escape(caption)
    return f"<figure><img alt='{text}' src='data:image/svg+xml;base64,{image}'><figcaption>{text}</figcaption></figure>"


def _main_variants(model: PublishedModel, rows: Rows) -> list[tuple[Any, Rows, np.ndarray[Any, np.dtype[np.bool_]]]]:
    """The first variant that has rows and the last, which answers everybody: more lines would hide each other."""
    answerable = [
        (variant, known(rows, variant.needs))
        for variant in model.manifest.variants
        if known(rows, variant.needs).sum() > 1
    ]
    ends = answerable if len(answerable) < 2 else [answerable[0], answerable[-1]]
    return [(variant, rows.take(mine), mine) for variant, mine in ends]


def _churn(model: PublishedModel, dataset: Dataset, *, seed: int) -> list[str]:
    left = dataset.frame[CHURN].to_numpy(bool)
    stated: dict[str, tuple[np.ndarray[Any, np.dtype[np.bool_]], Floats]] = {}
    moved_by: dict[str, Mapping[str, float]] = {}
    measured, cuts = [], []
    for variant, rows, mine in _main_variants(model, dataset.rows):
        if len(np.unique(left[mine])) < 2:
            continue
        y, probability = left[mine], model.score(variant, rows)
        stated[variant.name] = (y, probability)
        intervals = bootstrap(partial(weighted_classification, y, probability), len(y), seed=seed)
        measured.append({"variant": variant.name, **classification(y, probability), **named_intervals(intervals)})
        cuts.append({"variant": variant.name, **best_f1(y, probability)})
        moved_by[variant.name] = drivers(partial(model.score, variant), rows, model.manifest.reference)
    if not stated:
        raise DataError(f"column {CHURN}: no variant has leavers and stayers among these {len(left)} rows")
    figures = [name for name, value in measured[0].items() if isinstance(value, (int, float))]
    return [
        _table(measured, ["variant", *figures]),
        "<p>At the cut with the best F1 on these rows:</p>",
        _table(cuts, ["variant", "cut", "precision", "recall", "f1"]),
        _picture(plots.roc(stated), "ROC curve: leavers found against stayers disturbed, at every cut"),
        _picture(plots.precision_recall(stated), "Precision and recall at every cut; grey: the share of leavers"),
        _picture(plots.reliability(stated), "Calibration: share that left against stated probability, with rows"),
        _picture(plots.confusion(stated), "Confusion matrix at a cut of one half"),
        _picture(plots.bars(moved_by, unit="probability"), "What moves the answers: mean absolute Shapley values"),
    ]


def _clv(model: PublishedModel, dataset: Dataset, *, seed: int) -> list[str]:
    target, is_simulated = lifetime_value_usd(dataset, seed=seed)
    predicted: dict[str, tuple[Floats, Floats, float]] = {}
    moved_by: dict[str, Mapping[str, float]] = {}
    measured, bands = [], []
    for variant, rows, mine in _main_variants(model, dataset.rows):
        y, values = target[mine], model.score(variant, rows)
        half_width = float(variant.numbers["half_width_usd"][0])
        inside = np.abs(y - values) <= half_width
        predicted[variant.name] = (y, values, half_width)
        intervals = bootstrap(partial(weighted_regression, y, values), len(y), seed=seed)
        measured.append(
            {
                "variant": variant.name,
                **regression(y, values),
                "interval_half_width_usd": half_width,
                "interval_coverage": float(inside.mean()),
                **named_intervals(intervals),
            }
        )
        bands += [
            {"variant": variant.name, "tenure": band, **told} for band, told in coverage_by_tenure(rows, inside).items()
        ]
        moved_by[variant.name] = drivers(partial(model.score, variant), rows, model.manifest.reference)
    figures = [name for name, value in measured[0].items() if isinstance(value, (int, float))]
    note = "<p>The lifetime values of these rows are simulated.</p>" if is_simulated else ""
    return [
        note,
        _table(measured, ["variant", *figures]),
        "<p>How often the interval covered the value, by tenure:</p>",
        _table(bands, ["variant", "tenure", "rows", "coverage"]),
        _picture(plots.residuals(predicted), "Residuals against prediction; dashed: the 90 % interval"),
        _picture(plots.bars(moved_by, unit="US dollars"), "What moves the answers: mean absolute Shapley values"),
    ]


def html_report(model: PublishedModel, dataset: Dataset, *, seed: int) -> str:
    """The report as one HTML document: figures with 95 % bootstrap intervals, and plots.

    Args:
        dataset: customers with outcomes; best such as the version was not trained on.
        seed: of the resampling, and of a simulated lifetime value.

    Raises:
        DataError: these rows have not what the report needs.
    """
    manifest = model.manifest
    seen = model.seen_of(dataset)
    parts = (_churn if manifest.model == "churn" else _clv)(model, dataset, seed=seed)
    title = f"Model report: {manifest.model}, version {manifest.version}"
    return "\n".join(
        [
            "<!doctype html>",
            f"<html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>",
            f"<style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            f"<p>Made {escape(manifest.created_at)} from {manifest.data.get('rows', 0):,} rows: "
            f"{escape(str(manifest.data.get('source', '')))}. Measured here on {len(dataset.frame):,} rows: "
            f"{escape(dataset.source)}. In brackets: 95 % bootstrap intervals.</p>",
            f"<p><strong>The version was trained on {seen}: the figures are too good.</strong></p>" if seen else "",
            *parts,
            "<h2>Limits</h2><ul>",
            *[f"<li>{escape(note)}</li>" for note in manifest.notes],
            "</ul></body></html>",
            "",
        ]
    )
