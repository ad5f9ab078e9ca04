"""Runs the fitted scikit-learn pipelines themselves, for an estimator that ONNX cannot express.

The one module that unpickles, and so runs what the file's author wrote: imported only where
TELELINK_MODEL_RUNTIME=sklearn asks for it, and given only content whose hash the manifest names.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

import joblib
import numpy as np

from telelink_shared.artifact import ArtifactError
from telelink_shared.features import Floats


class SklearnEngine:
    """The last step of each variant's pipeline; the encoding before it is the toolkit's, as for ONNX.

    Args:
        content: of model.joblib, a dictionary from a variant's name to its pipeline.
        variants: names that it must have.

    Raises:
        ArtifactError: it cannot be loaded here, or is something else.
    """

    platform: Final = "sklearn_joblib"

    def __init__(self, content: bytes, variants: Sequence[str]) -> None:
        try:
            pipelines = joblib.load(io.BytesIO(content))
            self._estimators: dict[str, Any] = {name: pipelines[name].steps[-1][1] for name in variants}
        except Exception as error:  # whatever a pickle does; often a library that this installation lacks
            raise ArtifactError(f"model.joblib: cannot be used ({type(error).__name__}: {error})") from error

    def score(self, variant: str, matrix: Floats) -> Floats:
        """See `Engine.score`: the probability of the second class, or what a regression predicts."""
        estimator = self._estimators[variant]
        if hasattr(estimator, "predict_proba"):
            return np.asarray(estimator.predict_proba(matrix)[:, 1], dtype=np.float64)
        return np.asarray(estimator.predict(matrix), dtype=np.float64).reshape(len(matrix))
