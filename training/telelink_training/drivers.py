"""What moves a model's answers on the whole: the mean size of each group's contribution over customers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from telelink_shared.artifact import REFERENCE_COLUMNS
from telelink_shared.features import Floats, Rows, prepare
from telelink_shared.reasons import GROUPS
from telelink_shared.serving.reasons import contributions
from telelink_training.data import Dataset

# Every customer takes up to 512 answers.
_MOST_ROWS: Final = 1_000


def reference_customer(dataset: Dataset) -> dict[str, str | float]:
    """The stated customer that reasons are told against: medians that occur, and the most frequent words.

    A period whose minutes nobody has gets none: no variant looks at it then.
    """
    rows, frame = dataset.rows, dataset.frame
    reference: dict[str, str | float] = {}
    for column in REFERENCE_COLUMNS:
        if column in rows.codes:
            reference[column] = str(frame[column].value_counts().sort_index().idxmax())
            continue
        values = rows.numbers[column][~np.isnan(rows.numbers[column])]
        # The lower of two middle ones: half a call occurs with nobody.
        reference[column] = round(float(np.quantile(values, 0.5, method="lower")), 4) if len(values) else 0.0
    return reference


def drivers(answer: Callable[[Rows], Floats], rows: Rows, reference: Mapping[str, str | float]) -> dict[str, float]:
    """Mean absolute Shapley value of each group of fields over customers, largest first; in the answer's own unit.

    Args:
        answer: of one variant, for customers of whom it knows enough.
        rows: such customers; at most a thousand of them are looked at.
        reference: the customer that contributions are told against.
    """
    against = prepare({name: [value] for name, value in reference.items()}, n_rows=1)
    shares, _ = contributions(rows.take(np.arange(min(rows.n_rows, _MOST_ROWS))), against, answer)
    sizes = np.abs(shares).mean(axis=0)
    return {GROUPS[position].name: float(sizes[position]) for position in np.argsort(-sizes, kind="stable")}
