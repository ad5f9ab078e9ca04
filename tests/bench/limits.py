"""How near to echo anything could come: a relay that does next to nothing, and what a row costs at the least."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_json

from bench.batches import BATCH_PATH
from bench.echo import REPLY
from bench.measuring import Rounds, ratios, rounds, run, typical
from bench.predicting import MANY, warm_up
from bench.report import Part, number, table
from bench.setting import BATCHES, Setting
from bench.stands import ECHO, RELAY, RELAY_OVER_HTTPX, RELAY_TO_MODELS, Stand, Stands
from support.builders import CHURN_MODELS, a_customer, raw_columns, v2_request
from telelink_churn.definition import CHURN
from telelink_shared.customer import COLUMNS, Customer, row_of
from telelink_shared.features import encode, prepare
from telelink_shared.serving.model import load_model

_TRIES = 5


def _least_us(call: Callable[[], Any], n_rows: int) -> float:
    """The shortest of some tries: what disturbs only ever adds."""
    taken = []
    for _ in range(_TRIES):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken) / n_rows * 1e6


def _insert(file: Path, values: list[tuple[Any, ...]]) -> None:
    """The bare columns of a customer and an answer, in one transaction, without an index."""
    connection = sqlite3.connect(file)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        names = [f"c{position}" for position in range(len(values[0]))]
        connection.execute(f"CREATE TABLE IF NOT EXISTS t ({', '.join(names)})")
        connection.executemany(f"INSERT INTO t VALUES ({', '.join('?' * len(names))})", values)
        connection.commit()
    finally:
        connection.close()


def _steps(setting: Setting) -> dict[str, float]:
    """Microseconds a row of the largest batch, of one step after the other in one thread that does nothing else."""
    n_rows = max(BATCHES)
    customers = list(setting.customers[:n_rows])
    body = to_json(customers)
    adapter = TypeAdapter(list[Customer])
    rows = [row_of(customer) for customer in adapter.validate_json(body)]
    model = load_model(CHURN, CHURN_MODELS)
    variant = model.manifest.variants[-1]
    matrix = encode(prepare(raw_columns(customers), n_rows=n_rows), variant.encoding)
    stored = [(*row, *REPLY.values()) for row in rows]
    assert len(stored[0]) == len(COLUMNS) + len(REPLY)
    replies = {"predictions": [REPLY] * n_rows, "count": n_rows}
    steps: dict[str, Callable[[], Any]] = {
        "validating the body (pydantic, in compiled code)": partial(adapter.validate_json, body),
        "the smaller of the churn model's forests (onnxruntime, encoded already)": partial(
            model.engine.score, variant.name, matrix
        ),
        "storing customer and answer (SQLite, one transaction, no index)": partial(
            _insert, setting.folder / "limits.db", stored
        ),
        "serialising the answers": partial(to_json, replies),
    }
    return {name: _least_us(step, n_rows) for name, step in steps.items()}


def _relay_table(seen: dict[int, Rounds]) -> str:
    rows = []
    for connections, runs in seen.items():
        echo = runs[ECHO]
        # To the models it asks about one customer, however many wait: that says something of one connection alone.
        for name in (RELAY, RELAY_OVER_HTTPX, *((RELAY_TO_MODELS,) if connections == 1 else ())):
            relay = runs[name]
            times, medians = (
                sorted(ratios(relay, echo, figure))
                for figure in (lambda run: run.load.rate, lambda run: run.load.p50_ms)
            )
            rows.append(
                [
                    f"{name}, {connections}",
                    number(typical(relay, lambda run: run.load.rate)),
                    number(typical(echo, lambda run: run.load.rate)),
                    number(times[len(times) // 2]),
                    number(medians[len(medians) // 2]),
                ]
            )
    return table(["connections", "requests/s", "echo's", "times echo", "median, times echo's"], rows)


def _run(stand: Stand, *, setting: Setting, connections: int) -> Any:
    return run(stand, "/predict", setting.single_bodies, connections=connections, seconds=setting.seconds)


def measure(setting: Setting) -> Part:
    """Relay and echo, and the steps of a row."""
    n_rows = max(BATCHES)
    with Stands(setting.folder) as start:
        question = to_json(v2_request([a_customer()])).decode()
        stands = [start.relay(), start.relay(over_httpx=True), start.relay_to_models(question), start.echo()]
        echo = stands[-1]
        warm_up(stands, setting)
        seen = {
            connections: rounds(stands, setting.n_rounds, partial(_run, setting=setting, connections=connections))
            for connections in (MANY, 1)
        }
        body = setting.batch_body(n_rows)
        batch = run(echo, BATCH_PATH, body, connections=1, seconds=setting.seconds, rows=n_rows)
    steps = _steps(setting)
    whole_us = batch.load.p50_ms / n_rows * 1e3
    rows = [[name, number(spent), f"{spent / whole_us:.0%}"] for name, spent in steps.items()]
    rows.append(["**together**", number(sum(steps.values())), f"{sum(steps.values()) / whole_us:.0%}"])
    rows.append(["echo's whole answer", number(whole_us), "100%"])
    return Part(
        "How near to echo anything could come",
        [
            "The relay (`tests/bench/relay.py`) validates, asks two services that answer a constant, all who ask "
            "meanwhile in one call over a connection that is kept, and answers a constant: no HTTP library, no "
            "deadline, no check, no decision, no history, no log, no metrics. Over httpx, its calls are the gateway's "
            "own, and nothing else is. To the model services, these answer too, in JSON that nobody reads.",
            _relay_table(seen),
            f"What a row of {n_rows:,} takes at the least, each step alone in one thread, against echo's answer to the "
            "same request:",
            table(["microseconds a row", "", "of echo's"], rows),
        ],
    )
