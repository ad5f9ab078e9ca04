"""Pictures of what was measured, drawn without a screen."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from telelink_training.evaluate import ECE_BINS, Booleans, Floats

_INK: Final = "#1f3b57"
_SECOND: Final = "#c4532a"
_PALE: Final = "#b8c4d0"


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
        bin_of = np.minimum((probability * ECE_BINS).astype(int), ECE_BINS - 1)
        filled = [each for each in range(ECE_BINS) if (bin_of == each).any()]
        rows = np.array([(bin_of == each).sum() for each in filled])
        mean = np.array([probability[bin_of == each].mean() for each in filled])
        share = np.array([y[bin_of == each].mean() for each in filled])
        lower, upper = _wilson(share, rows)
        axis.plot([0, 1], [0, 1], color=_PALE, linewidth=1)
        axis.errorbar(mean, share, yerr=[share - lower, upper - share], fmt="o", color=_INK, capsize=3, markersize=4)
        for x, top, n in zip(mean, upper, rows, strict=True):
            axis.annotate(f"{n}", (x, top), textcoords="offset points", xytext=(0, 4), ha="center", fontsize=7)
        axis.set(title=name, xlabel="stated probability", ylabel="share that left", xlim=(0, 1), ylim=(0, 1.08))
    return figure


def _wilson(share: Floats, rows: Floats) -> tuple[Floats, Floats]:
    z = 1.96
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2)) / (1 + z**2 / rows)
    # A share of nought or one lies in its own interval but for the last bit.
    return np.minimum(centre - half, share), np.maximum(centre + half, share)


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
