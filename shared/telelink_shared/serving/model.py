"""A model version that is loaded, verified and ready to answer."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import structlog
from numpy.typing import NDArray

from telelink_shared import artifact
from telelink_shared.artifact import ArtifactError, Manifest, Variant
from telelink_shared.customer import CHARGES, MINUTES, RATES_USD_PER_MINUTE
from telelink_shared.features import BadColumn, Column, Floats, Rows, encode, prepare
from telelink_shared.serving.definition import (
    BASELINE_OUTPUT,
    REASONS_OUTPUT,
    VARIANT_OUTPUT,
    ModelDefinition,
    Numbers,
    Outputs,
)
from telelink_shared.serving.engine import Engine, OnnxEngine
from telelink_shared.serving.reasons import contributions

Runtime = Literal["onnx", "sklearn"]

log = structlog.get_logger()


class MissingColumn(BadColumn):
    """A required column that the request does not have, or has no value for."""


@dataclass(frozen=True)
class LoadedModel:
    """A definition, the version's manifest, the engine that runs it, and its card in Markdown, if it has one."""

    definition: ModelDefinition
    manifest: Manifest
    engine: Engine
    card: str = ""

    @property
    def version(self) -> str:
        """The version that answers."""
        return self.manifest.version

    @cached_property
    def numbers(self) -> Mapping[str, Numbers]:
        """The fitted numbers of each variant, converted once: for each request it would take longer than their use."""
        return {
            variant.name: {name: np.asarray(values) for name, values in variant.numbers.items()}
            for variant in self.manifest.variants
        }

    @cached_property
    def reference(self) -> Rows:
        """The customer that reasons are told against, with the charges that follow from the minutes."""
        known: dict[str, Any] = dict(self.manifest.reference)
        for minutes, charge, rate in zip(MINUTES, CHARGES, RATES_USD_PER_MINUTE.values(), strict=True):
            known[charge] = known[minutes] * rate
        return prepare({name: [value] for name, value in known.items()}, n_rows=1)

    def infer(self, raw: Mapping[str, Column], *, n_rows: int, wanted: Collection[str] = ()) -> Outputs:
        """The outputs for customers given as raw columns.

        Args:
            raw: values by column name; see `features.prepare`.
            n_rows: number of customers.
            wanted: names of outputs; the reasons are computed only where they are among these.

        Returns:
            arrays of shape (n_rows,) by output name, the variant that answered each row, and perhaps the reasons. A
            value that the model must not give (not finite, out of its stated range) is NaN: it harms no other row.

        Raises:
            BadColumn: a column is missing, or holds a value that it cannot have.
        """
        for column in self.definition.required:
            if column not in raw:
                raise MissingColumn(column, "is required", n_rows=n_rows)
        rows = prepare(raw, n_rows=n_rows)
        self._check_required(rows)
        outputs = self._by_variant(rows, with_reasons=not {REASONS_OUTPUT, BASELINE_OUTPUT}.isdisjoint(wanted))
        self._blank_invalid(outputs)
        return outputs

    def _check_required(self, rows: Rows) -> None:
        required = [column for column in self.definition.required if column in rows.numbers]
        if np.isnan([rows.numbers[column] for column in required]).any():
            column, unknown = next(
                (column, unknown) for column in required if (unknown := np.isnan(rows.numbers[column])).any()
            )
            raise MissingColumn(column, "is required", n_rows=int(unknown.sum()))

    def answer(self, variant: Variant, rows: Rows) -> Mapping[str, Floats]:
        """What one variant answers for customers of whom it knows enough, by output name; not checked."""
        scores = self.engine.score(variant.name, encode(rows, variant.encoding))
        return self.definition.finish(scores, rows, self.numbers[variant.name])

    def _main_answer(self, variant: Variant, rows: Rows) -> Floats:
        return self.answer(variant, rows)[self.definition.main_output.name]

    @cached_property
    def _needed(self) -> tuple[str, ...]:
        """Optional columns that some variant needs."""
        return tuple(dict.fromkeys(column for variant in self.manifest.variants for column in variant.needs))

    def _known(self, rows: Rows) -> NDArray[np.intp]:
        """Which of the needed columns each row has: a bit each."""
        if not self._needed:
            return np.zeros(rows.n_rows, dtype=np.intp)
        is_known = ~np.isnan([rows.numbers[column] for column in self._needed])
        return np.array([1 << bit for bit in range(len(self._needed))]) @ is_known

    @cached_property
    def _variant_of(self) -> NDArray[np.intp]:
        """The position of the first variant that can answer, by which of the needed columns are known: a bit each."""
        bits = {column: 1 << bit for bit, column in enumerate(self._needed)}
        needs = [sum(bits[column] for column in variant.needs) for variant in self.manifest.variants]
        # The last variant needs nothing optional.
        return np.array(
            [next(at for at, need in enumerate(needs) if need & known == need) for known in range(1 << len(bits))]
        )

    @cached_property
    def _variant_names(self) -> NDArray[Any]:
        return np.array([variant.name for variant in self.manifest.variants], dtype=object)

    def _by_variant(self, rows: Rows, *, with_reasons: bool) -> dict[str, NDArray[Any]]:
        answered_by = self._variant_of[self._known(rows)]
        found = sorted(set(answered_by.tolist())) or [0]
        outputs: dict[str, NDArray[Any]] = {}
        if len(found) == 1:
            outputs |= self._answers(self.manifest.variants[found[0]], rows, with_reasons=with_reasons)
        else:
            for position in found:
                mine = np.flatnonzero(answered_by == position)
                variant = self.manifest.variants[position]
                for name, values in self._answers(variant, rows.take(mine), with_reasons=with_reasons).items():
                    if name not in outputs:
                        outputs[name] = np.empty((rows.n_rows, *values.shape[1:]))
                    outputs[name][mine] = values
        outputs[VARIANT_OUTPUT] = self._variant_names[answered_by]
        return outputs

    def _answers(self, variant: Variant, rows: Rows, *, with_reasons: bool) -> dict[str, NDArray[Any]]:
        """All outputs of one variant, perhaps with the reasons."""
        answers: dict[str, NDArray[Any]] = dict(self.answer(variant, rows))
        if with_reasons:
            shares, baseline = contributions(rows, self.reference, partial(self._main_answer, variant))
            answers |= {REASONS_OUTPUT: shares, BASELINE_OUTPUT: baseline}
        return answers

    @cached_property
    def _limits(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Least and greatest value of each output, and whether it may be unknown; shape (n_outputs, 1) each."""
        limits = [(output.lower, output.upper, output.may_be_unknown) for output in self.definition.outputs]
        lower, upper, may_be_unknown = (np.array(each)[:, np.newaxis] for each in zip(*limits, strict=True))
        return lower, upper, may_be_unknown

    def invalid_rows(self, outputs: Outputs) -> Mapping[str, NDArray[np.bool_]]:
        """Where an output is what it must not be, for outputs that are so anywhere; shape (n_rows,)."""
        names = [output.name for output in self.definition.outputs]
        values = np.array([outputs[name] for name in names])
        lower, upper, may_be_unknown = self._limits
        # NaN fails both comparisons.
        is_valid = (values >= lower) & (values <= upper) | (may_be_unknown & np.isnan(values))
        if is_valid.all():
            return {}
        return {name: ~valid for name, valid in zip(names, is_valid, strict=True) if not valid.all()}

    def _blank_invalid(self, outputs: dict[str, NDArray[Any]]) -> None:
        for name, invalid in self.invalid_rows(outputs).items():
            log.warning("invalid values", model=self.definition.name, output=name, rows=int(invalid.sum()))
            outputs[name][invalid] = np.nan


def _differing_outputs(model: LoadedModel) -> list[str]:
    """Outputs that do not come out for the golden rows as the fitted pipeline had them."""
    golden = model.manifest.golden
    outputs = model.infer(golden.inputs, n_rows=golden.n_rows)
    return [
        name
        for name, expected in golden.outputs.items()
        if not np.allclose(
            outputs[name], np.asarray(expected, np.float64), rtol=0.0, atol=golden.tolerance[name], equal_nan=True
        )
    ]


def _self_test(model: LoadedModel) -> None:
    """Every variant answers the reference customer, and the golden rows come out as they should."""
    try:
        for variant in model.manifest.variants:
            if model.invalid_rows(model.answer(variant, model.reference)):
                raise ValueError(f"variant {variant.name} gives the reference customer an invalid answer")
        unproved = {output.name for output in model.definition.outputs} - set(model.manifest.golden.outputs)
        differing = _differing_outputs(model)
    except Exception as error:  # what a version of unknown make does when it is run cannot be listed
        raise ArtifactError(f"self-test: {type(error).__name__}: {error}") from error
    if unproved:
        raise ArtifactError(f"golden rows: nothing is expected of {', '.join(sorted(unproved))}")
    if differing:
        raise ArtifactError(f"golden rows: {', '.join(differing)} differs from what the fitted pipeline gave")


def _engine(runtime: Runtime, folder: Path, manifest: Manifest) -> Engine:
    variants = [variant.name for variant in manifest.variants]
    if runtime == "onnx":
        return OnnxEngine(artifact.read_verified(folder, manifest, artifact.ONNX), variants)
    try:
        from telelink_shared.serving.sklearn_engine import SklearnEngine
    except ImportError as error:
        raise ArtifactError(
            "TELELINK_MODEL_RUNTIME=sklearn needs scikit-learn, which is not installed: see the README"
        ) from error
    return SklearnEngine(artifact.read_verified(folder, manifest, artifact.JOBLIB), variants)


def _card(folder: Path, manifest: Manifest) -> str:
    if artifact.CARD not in manifest.files:
        return ""
    return artifact.read_verified(folder, manifest, artifact.CARD).decode(errors="replace")


def load_model(
    definition: ModelDefinition, models_dir: Path, *, version: str | None = None, runtime: Runtime = "onnx"
) -> LoadedModel:
    """Load a version, and prove that it is whole and right before anyone is answered.

    Args:
        version: None for the one that is to be served.
        runtime: what runs the estimators.

    Raises:
        ArtifactError: hashes, schema, shape of the graph or golden rows do not fit.
    """
    version = version or artifact.served_version(models_dir, definition.name)
    folder = models_dir / definition.name / version
    manifest = artifact.read_manifest(folder)
    if manifest.input_schema_hash != artifact.input_schema_hash(definition.required):
        raise ArtifactError(f"{folder}: was trained for another input schema than this service has")
    if not manifest.variants or manifest.variants[-1].needs:
        raise ArtifactError(f"{folder}: its last variant must answer rows without any optional column")
    model = LoadedModel(definition, manifest, _engine(runtime, folder, manifest), _card(folder, manifest))
    _self_test(model)
    _give_back_memory()
    return model


def _give_back_memory() -> None:
    """What reading the graph took and nobody uses any more: a third of a forest's memory, where the C library can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
