"""A model's own time in its service, without HTTP: one row, and the reasons for one customer.

    PYTHONPATH=tests .venv/bin/python tests/bench/model_path.py [onnx|sklearn]

Prints medians, and the 95th percentile in brackets. Budgets: 100 microseconds for encoding, engine and finish of one
row; 25 milliseconds for the reasons of one customer, in whom all nine groups differ from the reference customer.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from support.builders import CHURN_MODELS, CLV_MODELS, a_customer, raw_columns, with_usage
from telelink_churn.definition import CHURN
from telelink_clv.definition import CLV
from telelink_shared.features import prepare
from telelink_shared.serving.model import Runtime, load_model

# Everything about them differs from the reference customer, so all 512 coalitions are computed.
UNLIKE = {"areaCode": "408", "internationalPlan": "yes", "customerServiceCalls": 5}


def spent(call: Callable[[], Any], *, times: int, unit_s: float) -> str:
    """Median and 95th percentile of the call's time, after it has warmed up."""
    call()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append((time.perf_counter() - start) / unit_s)
    return f"{np.median(taken):.1f} ({np.quantile(taken, 0.95):.1f})"


def main(runtime: Runtime) -> None:
    """Print the table."""
    print("| model | variant | encode + engine + finish, µs | whole inference, µs | with reasons, ms |")
    print("| --- | --- | --- | --- | --- |")
    for definition, models_dir in ((CHURN, CHURN_MODELS), (CLV, CLV_MODELS)):
        model = load_model(definition, models_dir, runtime=runtime)
        for variant in model.manifest.variants:
            raw = raw_columns([with_usage(**UNLIKE) if variant.needs else a_customer(**UNLIKE)])
            infer = partial(model.infer, raw, n_rows=1)
            cells = (
                spent(partial(model.answer, variant, prepare(raw, n_rows=1)), times=1000, unit_s=1e-6),
                spent(infer, times=1000, unit_s=1e-6),
                spent(partial(infer, wanted=["reasons"]), times=200, unit_s=1e-3),
            )
            print(f"| {definition.name} | {variant.name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main("sklearn" if sys.argv[1:] == ["sklearn"] else "onnx")
