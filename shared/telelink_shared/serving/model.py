"""A model version that is loaded, verified and ready to answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from telelink_shared import artifact
from telelink_shared.artifact import ArtifactError, Manifest
from telelink_shared.features import BadColumn, Floats, Rows, encode, prepare
from telelink_shared.problem import InvalidOutput
from telelink_shared.serving.definition import VARIANT_OUTPUT, ModelDefinition, Outputs
from telelink_shared.serving.engine import Engine, OnnxEngine


class MissingColumn(BadColumn):
    """A required column that the request does not have, or has no value for."""


@dataclass(frozen=True)
class LoadedModel:
    """A definition, the version's manifest and the engine that runs it."""

    definition: ModelDefinition
    manifest: Manifest
    engine: Engine

    @property
    def version(self) -> str:
        """The version that answers."""
        return self.manifest.version

    def infer(self, raw: Mapping[str, Sequence[Any]], *, n_rows: int) -> Outputs:
        """The outputs for customers given as raw columns.

        Args:
            raw: values by column name; see `features.prepare`.
            n_rows: number of customers.

        Returns:
            arrays of shape (n_rows,) by output name, and the variant that answered each row.

        Raises:
            BadColumn: a column is missing, or holds a value that it cannot have.
            InvalidOutput: the model computed something outside its stated range.
        """
        for column in self.definition.required:
            if column not in raw:
                raise MissingColumn(column, "is required", n_rows=n_rows)
        rows = prepare(raw, n_rows=n_rows)
        for column in self.definition.required:
            if column in rows.numbers and np.isnan(rows.numbers[column]).any():
                raise MissingColumn(column, "is required", n_rows=int(np.isnan(rows.numbers[column]).sum()))
        outputs = self._by_variant(rows)
        self._check(outputs)
        return outputs

    def _by_variant(self, rows: Rows) -> Outputs:
        results = {output.name: np.full(rows.n_rows, np.nan) for output in self.definition.outputs}
        answered_by = np.empty(rows.n_rows, dtype=object)
        open_rows = np.ones(rows.n_rows, dtype=bool)
        for variant in self.manifest.variants:
            mine = open_rows.copy()
            for column in variant.needs:
                mine &= ~np.isnan(rows.numbers[column])
            if not mine.any():
                continue
            open_rows &= ~mine
            chosen = rows if mine.all() else rows.take(mine)
            scores = self.engine.score(variant.name, encode(chosen, variant.encoding))
            for name, values in self.definition.finish(scores, chosen, variant).items():
                results[name][mine] = values
            answered_by[mine] = variant.name
        if open_rows.any():  # excluded at load: the last variant needs nothing optional
            raise InvalidOutput("No variant of this model fits some of the rows.")
        return {**results, VARIANT_OUTPUT: answered_by}

    def _check(self, outputs: Outputs) -> None:
        for output in self.definition.outputs:
            values: Floats = outputs[output.name]
            in_range = (values >= output.lower) & (values <= output.upper)
            if output.may_be_unknown:
                in_range |= np.isnan(values)
            if not in_range.all():
                raise InvalidOutput(f"{output.name} lies outside [{output.lower:g}, {output.upper:g}] for some rows.")


def _check_golden(model: LoadedModel) -> None:
    golden = model.manifest.golden
    try:
        outputs = model.infer(golden.inputs, n_rows=golden.n_rows)
    except (BadColumn, InvalidOutput) as error:
        raise ArtifactError(f"golden rows: {error}") from error
    for name, expected in golden.outputs.items():
        wanted = np.asarray(expected, dtype=np.float64)
        if name not in outputs or not np.allclose(
            outputs[name], wanted, rtol=0.0, atol=golden.tolerance[name], equal_nan=True
        ):
            raise ArtifactError(f"golden rows: {name} differs from what the fitted pipeline gave")


def load_model(definition: ModelDefinition, models_dir: Path) -> LoadedModel:
    """Load the version to be served, and prove that it is whole and right before anyone is answered.

    Raises:
        ArtifactError: hashes, schema, shape of the graph or golden rows do not fit.
    """
    version = artifact.served_version(models_dir, definition.name)
    folder = models_dir / definition.name / version
    manifest = artifact.read_manifest(folder)
    if manifest.input_schema_hash != artifact.input_schema_hash(definition.required):
        raise ArtifactError(f"{folder}: was trained for another input schema than this service has")
    if not manifest.variants or manifest.variants[-1].needs:
        raise ArtifactError(f"{folder}: its last variant must answer rows without any optional column")
    content = artifact.read_verified(folder, manifest, artifact.ONNX)
    engine = OnnxEngine(content, tuple(variant.name for variant in manifest.variants))
    model = LoadedModel(definition, manifest, engine)
    _check_golden(model)
    return model
