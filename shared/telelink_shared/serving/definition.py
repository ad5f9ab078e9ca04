"""What a model service says about its model; the toolkit does the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from telelink_shared.features import Floats, Rows

Numbers = Mapping[str, Floats]
"""The fitted numbers of a variant, by name, as arrays."""

Finish = Callable[[Floats, Rows, Numbers], Mapping[str, Floats]]
"""From an estimator's scores (shape (n_rows,)) for rows of one variant to all outputs by name; pure."""


@dataclass(frozen=True)
class Output:
    """One output of a model.

    Attributes:
        name: the tensor's name.
        unit: 'probability', 'usd', …
        lower, upper: every value that is known lies between them; anything else is never sent.
        may_be_unknown: NaN is a valid value ('not known for this customer').
        on_request: given only when it is asked for by name.
    """

    name: str
    unit: str
    lower: float
    upper: float
    may_be_unknown: bool = False
    on_request: bool = False


@dataclass(frozen=True)
class ModelDefinition:
    """A model's meaning.

    Attributes:
        name: the model's name in addresses, folders and manifests.
        title: for people.
        required: raw columns that every row must have.
        optional: raw columns that may be missing, in whole or for single rows.
        outputs: what it answers; reasons are told for the first, which is always known.
        finish: from raw scores to outputs.
        quality: the metric, less is better, that says how good a variant is.
    """

    name: str
    title: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    outputs: tuple[Output, ...]
    finish: Finish
    quality: str

    @property
    def main_output(self) -> Output:
        """The output that reasons add up to."""
        return self.outputs[0]

    @property
    def standard_outputs(self) -> tuple[str, ...]:
        """Names of the outputs of a request that names none."""
        return tuple(output.name for output in self.outputs if not output.on_request)


VARIANT_OUTPUT = "variant"
"""An extra output of every model: which of its variants answered each row (BYTES)."""

REASONS_OUTPUT = "reasons"
"""An extra output of every model: contributions to the main output, shape (n_rows, n_groups)."""

BASELINE_OUTPUT = "reasons_baseline"
"""An extra output of every model: what it answers for the reference customer, shape (n_rows,)."""

Outputs = Mapping[str, NDArray[Any]]
