"""What the churn model means."""

from __future__ import annotations

from collections.abc import Mapping

from telelink_shared.calibration import calibrate_with_interval
from telelink_shared.customer import ELEVEN, USAGE
from telelink_shared.features import Floats, Rows
from telelink_shared.serving.definition import ModelDefinition, Numbers, Output


def finish(scores: Floats, _rows: Rows, numbers: Numbers) -> Mapping[str, Floats]:
    """A forest's votes become a probability and its interval by the calibration that was fitted for the variant."""
    probability, lower, upper = calibrate_with_interval(scores, numbers)
    return {"churn_probability": probability, "churn_lower": lower, "churn_upper": upper}


CHURN = ModelDefinition(
    name="churn",
    title="churn risk",
    required=ELEVEN,
    optional=USAGE,
    outputs=(
        Output("churn_probability", unit="probability", lower=0.0, upper=1.0),
        Output("churn_lower", unit="probability", lower=0.0, upper=1.0, on_request=True),
        Output("churn_upper", unit="probability", lower=0.0, upper=1.0, on_request=True),
    ),
    finish=finish,
    quality="log_loss",
)
