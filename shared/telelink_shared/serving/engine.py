"""Runs the estimators of a model version. In this module ONNX only: no code of the artifact's author is executed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

# Since 1.29 the published builds tell their maker about each start and model unless this is set before their import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

from telelink_shared.artifact import ArtifactError
from telelink_shared.features import Floats


class Engine(Protocol):
    """Computes the scores of one variant."""

    @property
    def platform(self) -> str:
        """What runs the model, as the protocol's metadata names it."""
        ...

    def score(self, variant: str, matrix: Floats) -> Floats:
        """Raw scores, float64 of shape (n_rows,), for an encoded matrix of shape (n_rows, n_features)."""
        ...


class OnnxEngine:
    """One session over a graph that has an input `<variant>` and an output `<variant>_score` for each variant.

    Every input defaults to no rows, so a run names only the variant that it needs.

    Args:
        model: the content of model.onnx.
        variants: names that the graph must have.

    Raises:
        ArtifactError: it is no ONNX graph of that shape.
    """

    platform: Final = "onnxruntime"

    def __init__(self, model: bytes, variants: Sequence[str]) -> None:
        options = onnxruntime.SessionOptions()
        # One thread: a row takes microseconds, and the machine may have one core for four services.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises types of its own that share no public base
            raise ArtifactError("model.onnx: onnxruntime cannot load it") from error
        types = {
            each.name: each.type
            for each in (*self._session.get_inputs(), *self._session.get_overridable_initializers())
        }
        missing = [name for name in variants if name not in types]
        if missing:
            raise ArtifactError(f"model.onnx: has no input for {', '.join(missing)}")
        self._dtypes = {name: np.float64 if types[name] == "tensor(double)" else np.float32 for name in variants}

    def score(self, variant: str, matrix: Floats) -> Floats:
        """See `Engine.score`."""
        (scores,) = self._session.run([f"{variant}_score"], {variant: matrix.astype(self._dtypes[variant], copy=False)})
        return np.asarray(scores, dtype=np.float64).reshape(len(matrix))
