"""What the lifetime-value model means."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from telelink_shared.customer import ELEVEN, USAGE
from telelink_shared.features import Floats, Rows, bill_usd
from telelink_shared.serving.definition import ModelDefinition, Numbers, Output


def finish(scores: Floats, rows: Rows, numbers: Numbers) -> Mapping[str, Floats]:
    """Dollars are never negative; the interval is conformal over residuals, so it has the same width for each row."""
    (half_width,) = numbers["half_width_usd"]
    return {
        "estimated_clv": np.maximum(scores, 0.0),
        "clv_lower": np.maximum(scores - half_width, 0.0),
        "clv_upper": np.maximum(scores + half_width, 0.0),
        "monthly_revenue": bill_usd(rows),
    }


CLV = ModelDefinition(
    name="clv",
    title="customer lifetime value",
    required=ELEVEN,
    optional=USAGE,
    outputs=(
        Output("estimated_clv", unit="usd", lower=0.0, upper=1e7),
        Output("clv_lower", unit="usd", lower=0.0, upper=1e7),
        Output("clv_upper", unit="usd", lower=0.0, upper=1e7),
        Output("monthly_revenue", unit="usd", lower=0.0, upper=1e5, may_be_unknown=True),
    ),
    finish=finish,
    quality="rmse_usd",
)
