"""What the churn model means."""

from __future__ import annotations

from collections.abc import Mapping

from telelink_shared.artifact import Variant
from telelink_shared.calibration import calibrate
from telelink_shared.customer import ELEVEN, USAGE
from telelink_shared.features import Floats, Rows
from telelink_shared.serving.definition import ModelDefinition, Output


def finish(scores: Floats, _rows: Rows, variant: Variant) -> Mapping[str, Floats]:
    """A forest's votes become a probability by the calibration that was fitted for the variant."""
    return {"churn_probability": calibrate(scores, variant.numbers)}


CHURN = ModelDefinition(
    name="churn",
    title="churn risk",
    required=ELEVEN,
    optional=USAGE,
    outputs=(Output("churn_probability", unit="probability", lower=0.0, upper=1.0),),
    finish=finish,
)
