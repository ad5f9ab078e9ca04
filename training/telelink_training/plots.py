"""Pictures of what was measured, drawn without a screen."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn import metrics

from telelink_training import evaluate
from telelink_training.evaluate import Booleans, Floats

_INK: Final = "#1f3b57"
_SECOND: Final = "#c4532a"
_PALE: Final = "#b8c4d0"
_LINES: Final = (_INK, _SECOND, "#5a8f3c", "#8a5aa8")


def svg(figure: Figure) -> bytes:
    """The figure as SVG, the same bytes for the same figure."""
    out = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "telelink", "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None}, bbox_inches="tight")
    return out.getvalue()


def _panels(n_panels: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(4.2 * n_panels, 3.8), layout="constrained")
    axes = [figure.add_subplot(1, n_panels, position + 1) for position in range(n_panels)]
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def reliability(stated: Mapping[str, tuple[Booleans, Floats]]) -> Figure:
    """Observed share of leavers against the stated probability in ten bins, a panel for each variant.

    Args:
        stated: outcomes and probabilities, by variant; bars show a 95 % interval of each share (Wilson).
    """
    figure, axes = _panels(len(stated))
    for axis, (name, (y, probability)) in zip(axes, stated.items(), strict=True):
        told = evaluate.reliability(y, probability)
        rows = [each["rows"] for each in told]
        mean = np.array([each["stated"] for each in told])
        share = np.array([each["share"] for each in told])
        lower, upper = np.array([each["share_interval"] for each in told]).T
        axis.plot([0, 1], [0, 1], color=_PALE, linewidth=1)
        axis.errorbar(mean, share, yerr=[share - lower, upper - share], fmt="o", color=_INK, capsize=3, markersize=4)
        for x, top, n in zip(mean, upper, rows, strict=True):
            axis.annotate(f"{n}", (x, top), textcoords="offset points", xytext=(0, 4), ha="center", fontsize=7)
        axis.set(title=name, xlabel="stated probability", ylabel="share that left", xlim=(0, 1), ylim=(0, 1.08))
    return figure


def residuals(predicted: Mapping[str, tuple[Floats, Floats, float]]) -> Figure:
    """What values differ by from what was predicted, a panel for each variant.

    Args:
        predicted: true and predicted values and the interval's half width in US dollars, by variant.
    """
    figure, axes = _panels(len(predicted))
    for axis, (name, (y, values, half_width)) in zip(axes, predicted.items(), strict=True):
        axis.scatter(values, y - values, s=6, color=_INK, alpha=0.5, linewidths=0, rasterized=True)
        for level in (-half_width, half_width):
            axis.axhline(level, color=_SECOND, linewidth=1, linestyle="--")
        axis.axhline(0, color=_PALE, linewidth=1)
        axis.set(title=name, xlabel="predicted, US dollars", ylabel="true less predicted, US dollars")
    return figure


def roc(stated: Mapping[str, tuple[Booleans, Floats]]) -> Figure:
    """Share of leavers found against share of stayers disturbed, at every cut; a line for each variant."""
    figure, (axis,) = _panels(1)
    axis.plot([0, 1], [0, 1], color=_PALE, linewidth=1)
    for color, (name, (y, probability)) in zip(_LINES, stated.items(), strict=False):
        false_share, true_share, _ = metrics.roc_curve(y, probability)
        area = metrics.roc_auc_score(y, probability)
        axis.plot(false_share, true_share, color=color, label=f"{name}: {area:.3f}")
    axis.set(title="ROC", xlabel="share of stayers flagged", ylabel="share of leavers flagged")
    axis.legend(title="area", frameon=False, loc="lower right")
    return figure


def precision_recall(stated: Mapping[str, tuple[Booleans, Floats]]) -> Figure:
    """Precision against recall at every cut; a line for each variant, and the share of leavers."""
    figure, (axis,) = _panels(1)
    for color, (name, (y, probability)) in zip(_LINES, stated.items(), strict=False):
        precision, recall, _ = metrics.precision_recall_curve(y, probability)
        area = metrics.average_precision_score(y, probability)
        axis.plot(recall, precision, color=color, label=f"{name}: {area:.3f}")
        axis.axhline(float(np.mean(y)), color=_PALE, linewidth=1)
    axis.set(title="Precision and recall", xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.03))
    axis.legend(title="average precision", frameon=False, loc="lower left")
    return figure


def confusion(stated: Mapping[str, tuple[Booleans, Floats]], *, cut: float = 0.5) -> Figure:
    """How many left and stayed of those flagged and not flagged at a cut, a panel for each variant."""
    figure, axes = _panels(len(stated))
    for axis, (name, (y, probability)) in zip(axes, stated.items(), strict=True):
        counts = metrics.confusion_matrix(y, probability >= cut, labels=[False, True])
        axis.imshow(counts / counts.sum(axis=1, keepdims=True).clip(1), cmap="Blues", vmin=0, vmax=1)
        for row in range(2):
            for column in range(2):
                axis.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=_SECOND)
        axis.set(title=f"{name}, cut {cut:g}", xticks=[0, 1], yticks=[0, 1])
        axis.set_xticklabels(["not flagged", "flagged"])
        axis.set_yticklabels(["stayed", "left"], rotation=90, va="center")
    return figure


def bars(sizes: Mapping[str, Mapping[str, float]], *, unit: str) -> Figure:
    """Mean size of each group's contribution, largest on top; a panel for each variant."""
    figure, axes = _panels(len(sizes))
    for axis, (name, of_group) in zip(axes, sizes.items(), strict=True):
        groups = list(of_group)[::-1]
        axis.barh([group.replace("_", " ") for group in groups], [of_group[group] for group in groups], color=_INK)
        axis.set(title=name, xlabel=f"mean size of contribution, {unit}")
    return figure
