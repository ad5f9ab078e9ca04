"""Training configurations: TOML files with a typed shape."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

CONFIGS: Final = Path(__file__).parents[1] / "configs"
SEARCHES: Final = ("small", "full")


@dataclass(frozen=True)
class VariantConfig:
    """One variant of a model.

    Attributes:
        needs: optional raw columns that a row must have.
        features: lists of numeric features by name, between which the search chooses.
        categorical: category columns, one-hot in every list.
        search: for each size of search, the values to try by parameter; `features` names lists.
    """

    name: str
    needs: tuple[str, ...]
    features: Mapping[str, tuple[str, ...]]
    categorical: tuple[str, ...]
    search: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)

    def grid(self, size: str) -> Iterator[dict[str, Any]]:
        """Every combination of the search of that size."""
        values = self.search[size]
        for combination in itertools.product(*values.values()):
            yield dict(zip(values, combination, strict=True))


@dataclass(frozen=True)
class ModelConfig:
    """A model's variants, best first, and how they are validated.

    Attributes:
        folds: of cross-validation.
        repeats: how often it is repeated with other folds, by size of search.
    """

    seed: int
    folds: int
    repeats: Mapping[str, int]
    variants: tuple[VariantConfig, ...]


def load_config(path: Path) -> ModelConfig:
    """The configuration in a TOML file."""
    with path.open("rb") as file:
        content = tomllib.load(file)
    variants = tuple(
        VariantConfig(
            name=each["name"],
            needs=tuple(each["needs"]),
            features={name: tuple(columns) for name, columns in each["features"].items()},
            categorical=tuple(each["categorical"]),
            search=each.get("search", {}),
        )
        for each in content["variants"]
    )
    return ModelConfig(content["seed"], content["folds"], content["repeats"], variants)
