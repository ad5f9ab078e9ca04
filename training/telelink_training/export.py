"""From fitted pipelines to a model version on disk, proved to answer like them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.base import BaseEstimator, is_classifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline

from telelink_shared import artifact
from telelink_shared.artifact import Encoding, Golden, Manifest, Variant, VersionExists
from telelink_shared.customer import COLUMNS, ELEVEN
from telelink_shared.features import Floats, Rows, encode, table
from telelink_shared.serving.engine import OnnxEngine
from telelink_training.data import Dataset, known

# The forest votes in float32 (7e-7 measured); the linear model computes in float64.
PARITY: Final = 1e-5
_GOLDEN_ROWS_EACH: Final = 2
_OPSET: Final = 18
_ML_OPSET: Final = 3
_IR_VERSION: Final = 9
_LIBRARIES: Final = ("imbalanced-learn", "numpy", "onnx", "onnxruntime", "pandas", "scikit-learn", "skl2onnx")


class ExportError(Exception):
    """The artifact would not answer like the fitted pipeline. Nothing was written."""


@dataclass(frozen=True)
class FittedVariant:
    """One fitted pipeline and what it takes.

    Attributes:
        name: of the variant.
        needs: optional raw columns that must be known.
        numeric, categorical: features of `features.table`, in order.
        pipeline: steps `encode` (scaling and one-hot), perhaps a resampler, and `model`.
        numbers: fitted numbers for the service's `finish`.
    """

    name: str
    needs: tuple[str, ...]
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    pipeline: Pipeline
    numbers: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def matrix(self, rows: Rows) -> Floats:
        """The pipeline's input for customers."""
        return table(rows, numeric=self.numeric, categorical=self.categorical)

    def scores(self, rows: Rows) -> Floats:
        """Raw scores by the scikit-learn pipeline, shape (n_rows,)."""
        if hasattr(self.pipeline, "predict_proba"):
            return np.asarray(self.pipeline.predict_proba(self.matrix(rows))[:, 1], dtype=np.float64)
        return np.asarray(self.pipeline.predict(self.matrix(rows)), dtype=np.float64)

    @property
    def encoding(self) -> Encoding:
        """The numbers that its scaler learnt, as the services take them."""
        scaler = self.pipeline.named_steps["encode"].named_transformers_["scale"]
        return Encoding(
            numeric=self.numeric,
            mean=tuple(float(value) for value in scaler.mean_),
            scale=tuple(float(value) for value in scaler.scale_),
            categorical=self.categorical,
        )


def estimator_onnx(estimator: BaseEstimator, n_features: int) -> onnx.ModelProto:
    """The estimator alone as a graph that takes the encoded matrix in float32."""
    options = {"zipmap": False} if is_classifier(estimator) else None
    model: onnx.ModelProto = to_onnx(
        estimator,
        np.zeros((1, n_features), np.float32),
        options=options,
        target_opset={"": _OPSET, "ai.onnx.ml": _ML_OPSET},
    )
    return model


def _forest_nodes(
    name: str, forest: RandomForestClassifier, n_features: int
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto], int]:
    converted = estimator_onnx(forest, n_features)
    (trees,) = [node for node in converted.graph.node if node.op_type == "TreeEnsembleClassifier"]
    node = onnx.NodeProto()
    node.CopyFrom(trees)
    node.name = f"{name}_trees"
    node.input[:] = [name]
    node.output[:] = [f"{name}_label", f"{name}_votes"]
    leaving = numpy_helper.from_array(np.array([1], dtype=np.int64), f"{name}_leaving")
    pick = helper.make_node("Gather", [f"{name}_votes", f"{name}_leaving"], [f"{name}_score"], axis=1)
    return [node, pick], [leaving], TensorProto.FLOAT


def _linear_nodes(name: str, model: LinearRegression) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto], int]:
    weights = numpy_helper.from_array(np.asarray(model.coef_, np.float64).reshape(-1, 1), f"{name}_weights")
    offset = numpy_helper.from_array(np.asarray([model.intercept_], np.float64), f"{name}_offset")
    nodes = [
        helper.make_node("MatMul", [name, f"{name}_weights"], [f"{name}_product"]),
        helper.make_node("Add", [f"{name}_product", f"{name}_offset"], [f"{name}_score"]),
    ]
    return nodes, [weights, offset], TensorProto.DOUBLE


def onnx_graph(variants: Sequence[FittedVariant]) -> bytes:
    """One graph with an input and a score for each variant; every input defaults to no rows, so a run names only one.

    Raises:
        ExportError: an estimator that this export does not know.
    """
    nodes, initializers, inputs, outputs = [], [], [], []
    for variant in variants:
        model = variant.pipeline.named_steps["model"]
        n_features = variant.encoding.n_features
        if isinstance(model, RandomForestClassifier):
            made = _forest_nodes(variant.name, model, n_features)
        elif isinstance(model, LinearRegression):
            made = _linear_nodes(variant.name, model)
        else:
            raise ExportError(f"variant {variant.name}: {type(model).__name__} cannot be exported")
        new_nodes, constants, element = made
        nodes += new_nodes
        empty = np.zeros((0, n_features), np.float32 if element == TensorProto.FLOAT else np.float64)
        initializers += [*constants, numpy_helper.from_array(empty, variant.name)]
        inputs.append(helper.make_tensor_value_info(variant.name, element, [f"{variant.name}_rows", n_features]))
        outputs.append(helper.make_tensor_value_info(f"{variant.name}_score", element, [f"{variant.name}_rows", 1]))
    graph = helper.make_graph(nodes, "variants", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    model_proto = helper.make_model(
        graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="telelink-training"
    )
    return bytes(model_proto.SerializeToString())


def parity(model: bytes, variants: Sequence[FittedVariant], rows: Rows) -> dict[str, float]:
    """Largest difference between ONNX and scikit-learn scores over the rows that a variant can answer, by variant."""
    engine = OnnxEngine(model, tuple(variant.name for variant in variants))
    differences = {}
    for variant in variants:
        mine = rows.take(known(rows, variant.needs))
        scores = engine.score(variant.name, encode(mine, variant.encoding))
        differences[variant.name] = float(np.abs(scores - variant.scores(mine)).max())
    return differences


def golden_inputs(
    dataset: Dataset, variants: Sequence[FittedVariant], *, seed: int
) -> dict[str, list[str | float | None]]:
    """Raw columns of golden rows: typical customers, two for each variant, of whom just its needs are known."""
    n_rows = _GOLDEN_ROWS_EACH * len(variants)
    complete = dataset.frame.dropna()
    frame = (complete if len(complete) >= n_rows else dataset.frame).sample(n_rows, random_state=seed)
    inputs: dict[str, list[str | float | None]] = {}
    for column in COLUMNS:
        if column not in frame:
            continue
        minutes = column.replace("_charge", "_minutes")
        inputs[column] = [
            value
            if column in ELEVEN or (minutes in variants[position // _GOLDEN_ROWS_EACH].needs and value == value)
            else None
            for position, value in enumerate(frame[column].tolist())
        ]
    return inputs


@dataclass(frozen=True)
class Release:
    """What a model version says of itself beside its estimators.

    Attributes:
        graph: of the variants, as `onnx_graph` gives it.
        reference: the customer that reasons are told against.
        plots: further files for the model card, by name.
        golden_outputs: what the scikit-learn path answers for the golden rows, by output.
        tolerance: accepted difference by output.
        card: text of the model card.
    """

    model: str
    variants: Sequence[FittedVariant]
    graph: bytes
    dataset: Dataset
    metrics: Mapping[str, Any]
    quantiles: Mapping[str, Mapping[str, float]]
    notes: Sequence[str]
    reference: Mapping[str, str | float]
    golden_inputs: Mapping[str, list[str | float | None]]
    golden_outputs: Mapping[str, list[float | None]]
    tolerance: Mapping[str, float]
    card: str
    plots: Mapping[str, bytes] = field(default_factory=dict)
    data_facts: Mapping[str, Any] = field(default_factory=dict)


def next_version(models_dir: Path, name: str) -> str:
    """One more than the newest; what is called like a version without being whole keeps its number."""
    taken = [int(entry.name) for entry in (models_dir / name).glob("*") if entry.name.isdecimal()]
    return str(max(taken, default=0) + 1)


def publish(release: Release, models_dir: Path) -> Path:
    """Write the release as the next version.

    Raises:
        ExportError: ONNX and scikit-learn disagree by more than `PARITY` on some training row.
    """
    differences = parity(release.graph, release.variants, release.dataset.rows)
    for name, difference in differences.items():
        if difference > PARITY:
            raise ExportError(f"variant {name}: ONNX differs from the fitted pipeline by {difference:.1e}")
    pipelines = io.BytesIO()
    joblib.dump({variant.name: variant.pipeline for variant in release.variants}, pipelines, compress=("xz", 6))
    files = {
        artifact.ONNX: release.graph,
        artifact.JOBLIB: pipelines.getvalue(),
        artifact.CARD: release.card.encode(),
        **release.plots,
    }
    manifest = Manifest(
        format=artifact.FORMAT,
        model=release.model,
        version=next_version(models_dir, release.model),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        input_schema_hash=artifact.input_schema_hash(ELEVEN),
        files={name: artifact.file_entry(content) for name, content in files.items()},
        variants=tuple(
            Variant(
                name=variant.name,
                needs=variant.needs,
                encoding=variant.encoding,
                numbers={name: tuple(float(value) for value in values) for name, values in variant.numbers.items()},
            )
            for variant in release.variants
        ),
        libraries={name: library_version(name) for name in _LIBRARIES},
        data={
            "source": release.dataset.source,
            "rows": len(release.dataset.frame),
            "fingerprint": release.dataset.fingerprint,
            **({"part_of": release.dataset.part_of} if release.dataset.part_of else {}),
            **release.data_facts,
        },
        metrics={**release.metrics, "onnx_parity": differences},
        quantiles={name: dict(levels) for name, levels in release.quantiles.items()},
        notes=tuple(release.notes),
        reference=dict(release.reference),
        golden=Golden(
            inputs=dict(release.golden_inputs), outputs=dict(release.golden_outputs), tolerance=dict(release.tolerance)
        ),
    )
    while True:
        try:
            return artifact.write_version(models_dir, manifest, files)
        except VersionExists:  # another training was done a moment earlier
            manifest = manifest.model_copy(update={"version": next_version(models_dir, release.model)})
