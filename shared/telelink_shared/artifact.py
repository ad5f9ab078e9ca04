"""A model version on disk: one folder with a manifest that names, hashes and explains every other file.

    models/<name>/<version>/manifest.json    written last by training, read first by a service
                            manifest.json.sha256    its digest, as `sha256sum` writes and checks it
                            model.onnx       what is served
                            model.joblib     the fitted scikit-learn pipelines: for analysts, and where ONNX fails
                            MODEL_CARD.md    for people
    models/<name>/served                     the version to serve, in one line; without it the newest is

Training writes, services read; this module is the only one that knows the layout.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from telelink_shared.customer import CATEGORIES, ELEVEN, MINUTES

MANIFEST: Final = "manifest.json"
DIGEST: Final = f"{MANIFEST}.sha256"
ONNX: Final = "model.onnx"
JOBLIB: Final = "model.joblib"
CARD: Final = "MODEL_CARD.md"
SERVED: Final = "served"
FORMAT: Final = 2
REFERENCE_COLUMNS: Final = ELEVEN + MINUTES


class ArtifactError(Exception):
    """A model version that must not be served. The message says which file and why."""


class VersionExists(ArtifactError):
    """A version that would have been written is there already, perhaps since a moment."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Format(BaseModel):
    format: int


class FileEntry(_Frozen):
    """What a file must be: its SHA-256 in hex and its size."""

    sha256: str
    size_bytes: int


class Encoding(_Frozen):
    """Fitted numbers of the encoding: what StandardScaler and OneHotEncoder learnt.

    Attributes:
        numeric: numeric features in order, raw columns or derived ones.
        mean, scale: of those, in their own units.
        categorical: category columns in order, each one-hot over the values in `customer.CATEGORIES`.
    """

    numeric: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    categorical: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _has_a_mean_and_a_scale_for_each(self) -> Self:
        if not len(self.numeric) == len(self.mean) == len(self.scale) or 0.0 in self.scale:
            raise ValueError("numeric, mean and scale must be of one length, and no scale 0")
        return self

    @cached_property
    def n_features(self) -> int:
        """Columns of the encoded matrix."""
        return len(self.numeric) + sum(len(CATEGORIES[name].values) for name in self.categorical)


class Variant(_Frozen):
    """One fitted estimator of a model, for customers of whom certain columns are known.

    Attributes:
        name: what replies call it; also the name of its input in the ONNX graph (`<name>_score` is the output).
        needs: raw columns that must be known, beyond the required ones.
        encoding: how its input matrix is made.
        numbers: further fitted numbers that the model's `finish` function asks for by name.
    """

    name: str
    needs: tuple[str, ...]
    encoding: Encoding
    numbers: dict[str, tuple[float, ...]] = {}


class Golden(_Frozen):
    """Rows with the outputs that the scikit-learn pipeline gave for them; None stands for 'not known'.

    Attributes:
        inputs: raw columns.
        outputs: expected outputs by name.
        tolerance: largest accepted absolute difference, by output.
    """

    inputs: dict[str, list[str | float | None]]
    outputs: dict[str, list[float | None]]
    tolerance: dict[str, float]

    @model_validator(mode="after")
    def _has_rows_and_all_of_one_length(self) -> Self:
        columns: list[Sequence[Any]] = [*self.inputs.values(), *self.outputs.values()]
        if len({len(values) for values in columns}) != 1 or not columns[0] or set(self.outputs) - set(self.tolerance):
            raise ValueError("inputs and outputs must be of one length, not empty, and each output have a tolerance")
        return self

    @property
    def n_rows(self) -> int:
        """Number of golden rows."""
        return len(next(iter(self.inputs.values())))


class Manifest(_Frozen):
    """Everything about a model version that a program may need to know.

    Attributes:
        variants: best first; a row is answered by the first whose needs it meets.
        data: where the training rows came from, how many, and their fingerprint.
        metrics: measured on rows that were not fitted on, by variant.
        quantiles: of each output over the training rows, by level ('0.75').
        notes: sentences that whoever shows a figure of this model must be able to show with it.
        reference: the customer that reasons are told against, by raw column: the training data's median of every
            number and most frequent word of every category, for all of `REFERENCE_COLUMNS`.
    """

    format: int
    model: str
    version: str
    created_at: str
    input_schema_hash: str
    files: dict[str, FileEntry]
    variants: tuple[Variant, ...]
    libraries: dict[str, str]
    data: dict[str, Any]
    metrics: dict[str, Any]
    quantiles: dict[str, dict[str, float]]
    notes: tuple[str, ...]
    reference: dict[str, str | float]
    golden: Golden

    @field_validator("quantiles")
    @classmethod
    def _ascend(cls, quantiles: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        for levels in quantiles.values():
            values = [levels[level] for level in sorted(levels, key=float)]
            if not all(map(math.isfinite, values)) or values != sorted(values):
                raise ValueError("must not be less for a higher level")
        return quantiles

    @field_validator("reference")
    @classmethod
    def _is_complete(cls, reference: dict[str, str | float]) -> dict[str, str | float]:
        if set(reference) != set(REFERENCE_COLUMNS):
            raise ValueError(f"must have {', '.join(REFERENCE_COLUMNS)}")
        return reference


def input_schema_hash(required: Sequence[str]) -> str:
    """Fingerprint of what a caller must send: required columns, their datatypes and words.

    Optional columns do not count, so that a service which learns to use a new one still fits an older gateway.
    """
    schema = [
        {"name": name, "datatype": "BYTES", "values": list(CATEGORIES[name].values)}
        if name in CATEGORIES
        else {"name": name, "datatype": "FP64"}
        for name in required
    ]
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()


def versions(models_dir: Path, name: str) -> list[str]:
    """Versions of a model that are on disk, oldest first. Versions are whole numbers, as other V2 servers expect."""
    found = [entry.parent.name for entry in (models_dir / name).glob(f"*/{MANIFEST}")]
    return sorted((version for version in found if version.isdecimal()), key=int)


def served_version(models_dir: Path, name: str) -> str:
    """The version a service is to serve: the one that the file `served` names, else the newest.

    Raises:
        ArtifactError: there is none, or the one that is named is not there.
    """
    found = versions(models_dir, name)
    if not found:
        raise ArtifactError(f"no version of model '{name}' in {models_dir}: train one, or set TELELINK_MODELS_DIR")
    path = models_dir / name / SERVED
    try:
        chosen = _read(path).decode().strip()
    except FileNotFoundError:
        return found[-1]
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: cannot be read") from error
    if chosen not in found:
        raise ArtifactError(f"{path}: names a version that is not there; there is {', '.join(found)}")
    return chosen


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all, whatever stands there and whenever it is interrupted."""
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=path.parent) as staging:
        staged = Path(staging) / path.name
        with staged.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the new name with no content
        staged.replace(path)


def set_served_version(models_dir: Path, name: str, version: str) -> None:
    """Choose the version that services are to serve from their next start or load on; whole or not at all.

    Raises:
        ArtifactError: it is not there.
    """
    if version not in versions(models_dir, name):
        raise ArtifactError(f"model '{name}' has no version {version} in {models_dir}")
    write_whole(models_dir / name / SERVED, f"{version}\n")


def _read(path: Path) -> bytes:
    # A pipe would be waited for without end.
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file")
    return path.read_bytes()


def _read_or_refuse(path: Path, *, missing: str = "") -> bytes:
    try:
        return _read(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}){missing}") from error
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from error


def _digest(manifest: bytes) -> bytes:
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


def write_manifest(folder: Path, content: str) -> None:
    """Write a manifest with its digest beside it. That finds damage and mistakes; whoever means harm can write both."""
    (folder / DIGEST).write_bytes(_digest(content.encode()))
    (folder / MANIFEST).write_bytes(content.encode())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a version folder.

    Raises:
        ArtifactError: missing, unreadable, not as it was written, of another format, or not about this folder.
    """
    path = folder / MANIFEST
    content = _read_or_refuse(path)
    advice = f"; if {MANIFEST} is as training wrote it, in its folder: sha256sum {MANIFEST} > {DIGEST}"
    if _read_or_refuse(folder / DIGEST, missing=advice) != _digest(content):
        raise ArtifactError(
            f"{path}: content differs from its digest in {DIGEST}: put the version there again as training wrote it"
        )
    try:
        written = _Format.model_validate_json(content).format
        if written != FORMAT:
            raise ArtifactError(f"{path}: format {written}, this program reads {FORMAT}")
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{path}: not a manifest of this format ({where}: {first['msg']})") from error
    if (manifest.model, manifest.version) != (folder.parent.name, folder.name):
        raise ArtifactError(f"{path}: is about {manifest.model} version {manifest.version}, not about its own folder")
    return manifest


def read_verified(folder: Path, manifest: Manifest, filename: str) -> bytes:
    """The content of a file, once it is proved to be the one that the manifest names.

    Raises:
        ArtifactError: not named, missing, or other content.
    """
    entry = manifest.files.get(filename)
    if entry is None:
        raise ArtifactError(f"{folder / filename}: the manifest does not name this file")
    content = _read_or_refuse(folder / filename)
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise ArtifactError(f"{folder / filename}: content differs from the hash in the manifest")
    return content


def file_entry(content: bytes) -> FileEntry:
    """The manifest's entry for a file with this content."""
    return FileEntry(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


@contextmanager
def _abandoned_on_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def write_version(models_dir: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Path:
    """Write a version folder at once: it is either wholly there or not at all.

    Args:
        models_dir: the folder that holds one folder for each model.
        manifest: must name each of `files` with its hash.
        files: content by file name.

    Returns:
        the new folder.

    Raises:
        VersionExists: versions are never overwritten.
        ArtifactError: manifest and files differ.
    """
    target = models_dir / manifest.model / manifest.version
    if target.exists():
        raise VersionExists(f"{target}: this version exists; versions are never overwritten")
    for filename, content in files.items():
        if manifest.files.get(filename) != file_entry(content):
            raise ArtifactError(f"{filename}: the manifest does not describe this content")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".writing-", dir=target.parent))
    with _abandoned_on_error(staging):
        for filename, content in files.items():
            (staging / filename).write_bytes(content)
        write_manifest(staging, manifest.model_dump_json(indent=1) + "\n")
        staging.chmod(0o755)
        try:
            staging.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            raise VersionExists(f"{target}: this version was written meanwhile") from error
    return target
