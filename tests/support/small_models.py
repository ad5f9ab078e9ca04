"""Versions of both models that are fitted in a moment, whole and right like any other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline

from support.builders import REFERENCE
from telelink_training import churn, clv
from telelink_training.config import CONFIGS, load_config
from telelink_training.data import CHURN, Dataset, lifetime_value_usd
from telelink_training.export import FittedVariant, Release, golden_inputs, onnx_graph, publish

CALIBRATION = {
    "calibration_scores": (0.0, 1.0),
    "calibration_probabilities": (0.02, 0.9),
    "calibration_lower": (0.0, 0.8),
    "calibration_upper": (0.04, 1.0),
}


def small_configs(folder: Path) -> Path:
    """The committed configurations with small forests, few folds and no repeats: whatever is tried is tried at once."""
    for name in ("churn", "clv"):
        text = (CONFIGS / f"{name}.toml").read_text(encoding="utf-8")
        for setting, value in (
            ("folds", "2"),
            ("repeats", "{ small = 1, full = 1 }"),
            ("n_estimators", "[5]"),
            ("resampling", '["none", "smote"]'),
        ):
            text = re.sub(rf"^{setting} = .*$", f"{setting} = {value}", text, flags=re.MULTILINE)
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder


def _ends(name: str) -> list[Any]:
    """The variants for customers of whom all usage is known, and none."""
    return [variant for variant in load_config(CONFIGS / f"{name}.toml").variants if variant.compare]


def small_churn(data: Dataset, models_dir: Path, *, trees: int = 8, seed: int = 1) -> Path:
    """The next version of a churn model of a few trees."""
    variants = []
    for config in _ends("churn"):
        parameters = {"features": "lean", "n_estimators": trees, "min_samples_leaf": 4}
        forest = churn.forest(config, parameters, seed=seed)
        fitted = FittedVariant(
            config.name, config.needs, forest.numeric, config.categorical, forest.pipeline, CALIBRATION
        )
        fitted.pipeline.fit(fitted.matrix(data.rows), data.frame[CHURN].to_numpy(bool))
        variants.append(fitted)
    return _published("churn", "churn_probability", variants, data, models_dir)


def small_clv(data: Dataset, models_dir: Path, *, features: str = "lean", half_width_usd: float = 1_650.0) -> Path:
    """The next version of a lifetime-value model."""
    target, _ = lifetime_value_usd(data, seed=1)
    variants = []
    for config in _ends("clv"):
        numeric = config.features[features]
        encode = churn.encoder(numeric, config.categorical)
        pipeline = Pipeline([("encode", encode), ("model", LinearRegression())])
        numbers = {clv.HALF_WIDTH: (half_width_usd,)}
        fitted = FittedVariant(config.name, config.needs, numeric, config.categorical, pipeline, numbers)
        fitted.pipeline.fit(fitted.matrix(data.rows), target)
        variants.append(fitted)
    return _published("clv", "estimated_clv", variants, data, models_dir)


def _published(model: str, output: str, variants: list[FittedVariant], data: Dataset, models_dir: Path) -> Path:
    limit = 0.1 if model == "churn" else 10_000.0
    golden = golden_inputs(data, variants, seed=1)
    release = Release(
        model=model,
        variants=variants,
        graph=onnx_graph(variants),
        dataset=data,
        metrics={"reported_on": "nothing", "variants": {}},
        quantiles={output: {"0.75": limit}},
        notes=["Made up, for <tests>."],
        reference=REFERENCE,
        golden_inputs=golden,
        golden_outputs={output: np.full(4, np.nan).tolist()},
        tolerance={output: 1.0},
        card="# A card\n",
    )
    return publish(release, models_dir)
