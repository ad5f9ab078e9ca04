"""What a model service says about its model; the toolkit does the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from telelink_shared.artifact import Variant
from telelink_shared.features import Floats, Rows

Finish = Callable[[Floats, Rows, Variant], Mapping[str, Floats]]
"""From an estimator's scores (shape (n_rows,)) for rows of one variant to the outputs by name; pure."""


@dataclass(frozen=True)
class Output:
    """One output of a model.

    Attributes:
        name: the tensor's name.
        unit: 'probability', 'usd', …
        lower, upper: every value that is known lies between them; anything else is never sent.
        may_be_unknown: NaN is a valid value ('not known for this customer').
    """

    name: str
    unit: str
    lower: float
    upper: float
    may_be_unknown: bool = False


@dataclass(frozen=True)
class ModelDefinition:
    """A model's meaning.

    Attributes:
        name: the model's name in addresses, folders and manifests.
        title: for people.
        required: raw columns that every row must have.
        optional: raw columns that may be missing, in whole or for single rows.
        outputs: what it answers.
        finish: from raw scores to outputs.
    """

    name: str
    title: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    outputs: tuple[Output, ...]
    finish: Finish


VARIANT_OUTPUT = "variant"
"""An extra output, given when asked for by name: which variant of the model answered each row (BYTES)."""

Outputs = Mapping[str, NDArray[Any]]
