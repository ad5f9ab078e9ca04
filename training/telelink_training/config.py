"""Training configurations: TOML files with a typed shape."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from telelink_shared.customer import CATEGORIES, MINUTES
from telelink_shared.features import DERIVED, NUMBERS

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
        compare: other kinds of model are tried beside it, and its drivers and plots are told.
    """

    name: str
    needs: tuple[str, ...]
    features: Mapping[str, tuple[str, ...]]
    categorical: tuple[str, ...]
    search: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    compare: bool = True

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


class ConfigError(Exception):
    """A configuration that cannot be used. The message names the file, in one line."""


def load_config(path: Path) -> ModelConfig:
    """The configuration in a TOML file.

    Raises:
        ConfigError: it is not there, is no TOML, or lacks something.
    """
    try:
        with path.open("rb") as file:
            config = _config(tomllib.load(file))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # what the TOML reader raises is of this kind
        raise ConfigError(f"{path}: is no TOML ({error})") from error
    except KeyError as error:
        raise ConfigError(f"{path}: lacks {error}") from error
    fault = _fault(config)
    if fault:
        raise ConfigError(f"{path}: {fault}")
    return config


def _fault(config: ModelConfig) -> str:
    """What a variant must not be; empty when all is well."""
    for variant in config.variants:
        unknown = {*variant.needs} - {*MINUTES}
        unknown |= {name for numeric in variant.features.values() for name in numeric} - {*NUMBERS, *DERIVED}
        unknown |= {*variant.categorical} - {*CATEGORIES}
        if unknown:
            return f"variant {variant.name} names what there is not: {', '.join(sorted(unknown))}"
    if not config.variants or config.variants[-1].needs:
        return "the last variant must need nothing, so that it answers every customer"
    return ""


def _config(content: Mapping[str, Any]) -> ModelConfig:
    variants = tuple(
        VariantConfig(
            name=each["name"],
            needs=tuple(each["needs"]),
            features={name: tuple(columns) for name, columns in each["features"].items()},
            categorical=tuple(each["categorical"]),
            search=content["searches"][each["search"]] if "search" in each else {},
            compare=each.get("compare", True),
        )
        for each in content["variants"]
    )
    return ModelConfig(content["seed"], content["folds"], content["repeats"], variants)
