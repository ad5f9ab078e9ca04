"""What answering by an estimator costs under ONNX: size of its graph and time for one row."""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np
import onnxruntime
from sklearn.pipeline import Pipeline

from telelink_shared.features import Floats
from telelink_training.export import estimator_onnx

_RUNS: Final = 300


def onnx_costs(pipeline: Pipeline, X: Floats) -> dict[str, Any]:
    """Kilobytes of a fitted estimator's graph, and the median microseconds that it needs for a single encoded row.

    Args:
        pipeline: fitted; its steps `encode` and `model` are looked at.
        X: rows in the pipeline's own input; shape (n_rows, n_columns).
    """
    encoded = pipeline.named_steps["encode"].transform(X).astype(np.float32)
    model = estimator_onnx(pipeline.named_steps["model"], encoded.shape[1]).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    entry, answer = session.get_inputs()[0].name, session.get_outputs()[-1].name
    taken_us = []
    for position in range(_RUNS):
        row = encoded[position % len(encoded)][np.newaxis, :]
        start = time.perf_counter()
        session.run([answer], {entry: row})
        taken_us.append(1e6 * (time.perf_counter() - start))
    return {"onnx_kb": len(model) / 1_000, "us_per_row": float(np.median(taken_us))}
