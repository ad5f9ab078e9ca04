"""`python -m bench.one_process`: what people write by hand. One process, scikit-learn on a one-row frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from fastapi import FastAPI

from bench.serving import bare_app, serve
from support.builders import CHURN_MODELS, CLV_MODELS
from telelink_shared import artifact
from telelink_shared.artifact import JOBLIB, Variant
from telelink_shared.calibration import calibrate_with_interval
from telelink_shared.customer import CATEGORIES, COLUMNS, MINUTES, RATES_USD_PER_MINUTE, USAGE_PERIODS, Customer
from telelink_shared.decision import Policy, decide
from telelink_shared.features import DERIVED, Rows


class SklearnModel:
    """The fitted pipelines of a bundled model's newest version."""

    def __init__(self, models_dir: Path, name: str) -> None:
        folder = models_dir / name / artifact.served_version(models_dir, name)
        self.manifest = artifact.read_manifest(folder)
        self._pipelines = joblib.load(folder / JOBLIB)

    def _variant(self, frame: pd.DataFrame) -> Variant:
        return next(v for v in self.manifest.variants if not frame[list(v.needs)].isna().any(axis=None))

    def scores(self, frame: pd.DataFrame) -> tuple[np.ndarray[Any, Any], Variant]:
        """Raw scores of a one-row frame, and the variant that gave them."""
        variant = self._variant(frame)
        pipeline = self._pipelines[variant.name]
        encoding = variant.encoding
        matrix = frame[[*encoding.numeric, *encoding.categorical]].to_numpy(dtype=np.float64)
        if hasattr(pipeline, "predict_proba"):
            return pipeline.predict_proba(matrix)[:, 1], variant
        return pipeline.predict(matrix), variant


def features(customers: Sequence[Customer]) -> pd.DataFrame:
    """Customers as a frame with the derived features, categories as positions."""
    frame = pd.DataFrame([customer.model_dump() for customer in customers])[list(COLUMNS)]
    for name, category in CATEGORIES.items():
        frame[name] = frame[name].map(category.values.index)
    for period, minutes in zip(USAGE_PERIODS, MINUTES, strict=True):
        charge = frame[f"total_{period}_charge"].astype(float)
        frame[minutes] = frame[minutes].astype(float).fillna(charge / RATES_USD_PER_MINUTE[period])
    # The derived features as training computes them: a few array operations, next to nothing beside the frame.
    numbers = {name: frame[name].to_numpy(np.float64) for name in COLUMNS if name not in CATEGORIES}
    rows = Rows(len(frame), numbers, {name: frame[name].to_numpy(np.intp) for name in CATEGORIES})
    return frame.assign(**{name: derive(rows) for name, derive in DERIVED.items()})


def create_app() -> FastAPI:
    """One route; a plain function, so that FastAPI runs it in a thread."""
    churn, clv = SklearnModel(CHURN_MODELS, "churn"), SklearnModel(CLV_MODELS, "clv")
    quantiles = clv.manifest.quantiles["estimated_clv"]
    policy = Policy(high_value_from_usd=quantiles["0.75"], top_value_from_usd=quantiles["0.9"])
    app = bare_app()

    @app.post("/predict")
    def predict(customer: Customer) -> dict[str, Any]:
        frame = features([customer])
        votes, variant = churn.scores(frame)
        calibrated = calibrate_with_interval(votes, variant.numbers)
        probability, lower, upper = (round(float(values[0]), 6) for values in calibrated)
        value_usd = round(max(float(clv.scores(frame)[0][0]), 0.0), 2)
        decision = decide(probability, (lower, upper), value_usd, policy)
        return {
            "churn_probability": probability,
            "churn_risk": decision.tier,
            "estimated_clv": value_usd,
            "recommendation": decision.recommendation,
            "confidence": decision.confidence,
        }

    return app


if __name__ == "__main__":
    serve(create_app())
