"""Both models in this process, and the decision on what they answer: without a gateway, without a service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from telelink_churn.definition import CHURN
from telelink_clv.definition import CLV
from telelink_shared.artifact import served_version
from telelink_shared.bulk.deciding import CHURN_FIGURES, CLV_FIGURES, NO_ANSWER, NO_ANSWER_CODE, decide_all
from telelink_shared.bulk.table import Checked, Chunk, Fault, Scored
from telelink_shared.decision import Policy, with_value_limits
from telelink_shared.features import Column, Floats
from telelink_shared.serving.model import LoadedModel, load_model


@dataclass(frozen=True)
class Models:
    """Both models, and the limits by which it is decided."""

    churn: LoadedModel
    clv: LoadedModel
    policy: Policy

    def score(self, chunk: Chunk, checked: Checked) -> Scored:
        """What the gateway would tell about these customers."""
        columns: dict[str, Column] = {name: np.asarray(values) for name, values in checked.numbers.items()}
        columns |= checked.words
        figures: dict[str, Floats] = {}
        for model, names in ((self.churn, CHURN_FIGURES), (self.clv, CLV_FIGURES)):
            outputs = model.infer(columns, n_rows=len(checked.good))
            figures |= {name: outputs[name] for name in names}
        invalid = _invalid(figures, CHURN_FIGURES) | _invalid(figures, CLV_FIGURES)
        if invalid.any():
            checked = checked.without(
                {
                    place: Fault(chunk.lines[checked.good[place]], "", NO_ANSWER_CODE, NO_ANSWER)
                    for place in np.flatnonzero(invalid).tolist()
                }
            )
            figures = {name: values[~invalid] for name, values in figures.items()}
        # Numbers of Python's own: numpy rounds otherwise.
        answers = {name: values.tolist() for name, values in figures.items()}
        return Scored(chunk, checked, decide_all(answers, self.policy))


def _invalid(figures: Mapping[str, Floats], names: tuple[str, str, str]) -> NDArray[np.bool_]:
    """Where a figure cannot be: not known, or not between its own limits."""
    value, lower, upper = (figures[name] for name in names)
    fits: NDArray[np.bool_] = (lower <= value) & (value <= upper)  # NaN fails
    return ~fits


@lru_cache(maxsize=4)
def _loaded(folder: Path, name: str, version: str) -> LoadedModel:
    """Kept: a worker has many files to score. Whatever is promoted meanwhile is another version."""
    return load_model({CHURN.name: CHURN, CLV.name: CLV}[name], folder, version=version)


def load_models(churn_models: Path, clv_models: Path, policy: Policy) -> Models:
    """The versions of both models that are to be served, verified as a service verifies them.

    Args:
        policy: without limits of value, those of the value model are in force.

    Raises:
        ArtifactError
    """
    churn, clv = (
        _loaded(folder, name, served_version(folder, name))
        for folder, name in ((churn_models, CHURN.name), (clv_models, CLV.name))
    )
    quantiles: Mapping[str, float] = clv.manifest.quantiles.get("estimated_clv", {})
    return Models(churn, clv, with_value_limits(policy, quantiles))
