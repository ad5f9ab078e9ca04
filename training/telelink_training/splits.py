"""Which rows are fitted on and which are only reported on."""

from __future__ import annotations

from sklearn.model_selection import train_test_split

from telelink_training.data import CHURN, Dataset

HOLD_OUT_SHARE = 0.2


def hold_out(dataset: Dataset, *, seed: int) -> tuple[Dataset, Dataset]:
    """Training rows and hold-out rows, with the same share of churners in both."""
    train, test = train_test_split(
        dataset.frame, test_size=HOLD_OUT_SHARE, random_state=seed, stratify=dataset.frame[CHURN]
    )
    return (
        Dataset(
            train.reset_index(drop=True),
            f"{dataset.source}, {1 - HOLD_OUT_SHARE:.0%} of it",
            part_of=dataset.fingerprint,
        ),
        Dataset(test.reset_index(drop=True), f"{dataset.source}, the other {HOLD_OUT_SHARE:.0%}"),
    )
