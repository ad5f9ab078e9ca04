"""Training configurations: TOML files with a typed shape."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

CONFIGS: Final = Path(__file__).parents[1] / "configs"


@dataclass(frozen=True)
class VariantConfig:
    """One variant of a model.

    Attributes:
        needs: optional raw columns that a row must have.
        numeric, categorical: its features.
        search: for each size of search, the values to try by parameter.
    """

    name: str
    needs: tuple[str, ...]
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    search: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)

    def grid(self, size: str) -> Iterator[dict[str, Any]]:
        """Every combination of the search of that size."""
        values = self.search[size]
        for combination in itertools.product(*values.values()):
            yield dict(zip(values, combination, strict=True))


@dataclass(frozen=True)
class ModelConfig:
    """A model's variants, best first, and how they are validated."""

    seed: int
    folds: int
    variants: tuple[VariantConfig, ...]


def load_config(path: Path) -> ModelConfig:
    """The configuration in a TOML file."""
    with path.open("rb") as file:
        content = tomllib.load(file)
    variants = tuple(
        VariantConfig(
            name=each["name"],
            needs=tuple(each["needs"]),
            numeric=tuple(each["numeric"]),
            categorical=tuple(each["categorical"]),
            search=each.get("search", {}),
        )
        for each in content["variants"]
    )
    return ModelConfig(seed=content["seed"], folds=content["folds"], variants=variants)
