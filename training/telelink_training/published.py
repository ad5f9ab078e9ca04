"""Versions on disk as an analyst uses them: answering rows, and which of them services are to serve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from telelink_shared import artifact
from telelink_shared.artifact import ArtifactError, Manifest, Variant
from telelink_shared.calibration import calibrate
from telelink_shared.features import Floats, Rows, encode
from telelink_shared.serving.engine import OnnxEngine
from telelink_training.clv import HALF_WIDTH
from telelink_training.data import Dataset, known

BEFORE: Final = "served_before"
"""Beside the file `served`: the version that was served before the last promotion or rollback."""

# From an estimator's scores to the answer, as the services' definitions have it.
_FINISH: Final[Mapping[str, Callable[[Floats, Variant], Floats]]] = {
    "churn": lambda scores, variant: calibrate(scores, variant.numbers),
    "clv": lambda scores, _variant: np.maximum(scores, 0.0),
}


@dataclass(frozen=True)
class Answers:
    """What a version answers for customers; all of shape (n_rows,).

    Attributes:
        values: probabilities, or US dollars.
        variants: which variant answered.
        half_widths_usd: of the interval of a lifetime value; NaN where there is none.
    """

    values: Floats
    variants: NDArray[Any]
    half_widths_usd: Floats


@dataclass(frozen=True)
class PublishedModel:
    """A version whose hashes were checked."""

    manifest: Manifest
    engine: OnnxEngine

    def seen_of(self, dataset: Dataset) -> str:
        """Which of these customers it was trained on, in words; empty for none that is known of."""
        fingerprint, data = dataset.fingerprint, self.manifest.data
        if fingerprint == data.get("fingerprint"):
            return "these very rows"
        return "most of these rows" if fingerprint == data.get("part_of") else ""

    def score(self, variant: Variant, rows: Rows) -> Floats:
        """One variant's answers for customers of whom it knows enough."""
        finish = _FINISH[self.manifest.model]
        return finish(self.engine.score(variant.name, encode(rows, variant.encoding)), variant)

    def answers(self, rows: Rows) -> Answers:
        """Each customer answered by the first variant whose needs are known, as in a service."""
        values, widths = np.full(rows.n_rows, np.nan), np.full(rows.n_rows, np.nan)
        by = np.full(rows.n_rows, "", dtype=object)
        for variant in self.manifest.variants:
            mine = known(rows, variant.needs) & (by == "")
            if mine.any():
                values[mine] = self.score(variant, rows.take(mine))
                widths[mine] = variant.numbers.get(HALF_WIDTH, (np.nan,))[0]
                by[mine] = variant.name
        return Answers(values, by, widths)


def _checked(models_dir: Path, name: str, version: str) -> Manifest:
    """The manifest of a version all of whose files are those that it names."""
    folder = models_dir / name / version
    if version not in artifact.versions(models_dir, name):
        there = ", ".join(artifact.versions(models_dir, name)) or "none"
        raise ArtifactError(f"model '{name}' has no version {version} in {models_dir}; there is {there}")
    manifest = artifact.read_manifest(folder)
    for filename in manifest.files:
        artifact.read_verified(folder, manifest, filename)
    return manifest


def read_published(models_dir: Path, name: str, version: str) -> PublishedModel:
    """A version on disk.

    Raises:
        ArtifactError: it is not there, or not whole.
    """
    manifest = _checked(models_dir, name, version)
    content = artifact.read_verified(models_dir / name / version, manifest, artifact.ONNX)
    return PublishedModel(manifest, OnnxEngine(content, [variant.name for variant in manifest.variants]))


def _served(models_dir: Path, name: str) -> str | None:
    try:
        return artifact.served_version(models_dir, name)
    except ArtifactError:
        return None


def promote(models_dir: Path, name: str, version: str) -> str | None:
    """Choose the version that services serve from their next start or load on.

    Returns:
        the version that was served before; None where the one that was chosen is gone, which this mends.

    Raises:
        ArtifactError: it is not there, or not whole; nothing has changed.
    """
    _checked(models_dir, name, version)
    before = _served(models_dir, name)
    if before not in (None, version):
        # In this order: cut between the two, a rollback finds the served version itself and says so.
        artifact.write_whole(models_dir / name / BEFORE, f"{before}\n")
    artifact.set_served_version(models_dir, name, version)
    return before


def rollback(models_dir: Path, name: str) -> tuple[str, str]:
    """Serve the version again that was served before the last promotion; a second rollback undoes the first.

    Returns:
        the version to be served from now on, and the one that it takes the place of.

    Raises:
        ArtifactError: nothing was promoted yet, or that version is gone or not whole; nothing has changed.
    """
    served = artifact.served_version(models_dir, name)
    try:
        before = (models_dir / name / BEFORE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        before = served
    if before == served:
        raise ArtifactError(f"model '{name}' has no promotion to take back in {models_dir}")
    promote(models_dir, name, before)
    return before, served
