"""A made-up population of any size, with the marginals of the public data and its known churn rules.

Customers are made in blocks, each from a seed of its own: the first customers of a population are the same however
large it is, and no more than a few blocks are in memory at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from arro3.core import Array, DataType, RecordBatch, RecordBatchReader
from arro3.io import write_csv, write_parquet
from numpy.typing import NDArray
from tqdm import tqdm

from telelink_shared.customer import CATEGORIES, CHARGES, COLUMNS, MINUTES, PLAN_VALUES, RATES_USD_PER_MINUTE
from telelink_shared.features import Words
from telelink_shared.headers import CHURN

CUSTOMER_ID: Final = "customer_id"
BLOCK: Final = 10_000
_ROWS_PER_GROUP: Final = 64 * 1024

Block = Mapping[str, NDArray[Any] | Words]
"""Columns by name: words of categories, whole numbers, minutes and charges as float64, `churn` as truth values."""

# Figures of the public data, 3,333 customers: means and standard deviations, and how often a count occurs in percent.
_TENURE_DAYS: Final = (101.1, 39.8, 1, 243)
_MESSAGES: Final = (29.3, 7.6, 4, 51)
_CALLS: Final = {"day": (100.4, 20.1, 0, 165), "eve": (100.1, 19.9, 0, 170), "night": (100.1, 19.6, 33, 175)}
_MINUTES: Final = {
    "day": (179.8, 54.5, 0, 350.8),
    "eve": (201.0, 50.7, 0, 363.7),
    "night": (200.9, 50.6, 23.2, 395.0),
    "intl": (10.24, 2.79, 0, 20.0),
}
_INTL_CALLS: Final = (0.5, 4.8, 14.7, 20.0, 18.6, 14.2, 10.1, 6.5, 3.5, 3.3, 1.5, 0.8, 0.5, 0.4, 0.2, 0.2, 0.1, 0.1)
_SERVICE_CALLS: Final = (20.9, 35.4, 22.8, 12.9, 5.0, 2.0, 0.7, 0.2, 0.05, 0.05)
_AREA_CODES: Final = (25.1, 49.7, 25.2)
_INTERNATIONAL_PLAN: Final = 0.097
_VOICE_MAIL_PLAN: Final = 0.277
# Of those to whom one of the rules applies nearly all leave, of the others few: together 14 in a hundred.
_LEAVE_BY_RULE: Final = 0.96
_LEAVE_OTHERWISE: Final = 0.033


def _normal(
    rng: np.random.Generator, n_rows: int, figures: tuple[float, float, float, float], *, digits: int
) -> NDArray[Any]:
    mean, deviation, least, most = figures
    values = np.clip(rng.normal(mean, deviation, n_rows), least, most).round(digits)
    return values if digits else values.astype(np.int64)


def _choice(rng: np.random.Generator, n_rows: int, weights: tuple[float, ...]) -> NDArray[np.int64]:
    limits = np.cumsum(weights) / sum(weights)
    return np.searchsorted(limits[:-1], rng.random(n_rows), side="right").astype(np.int64)


def _leaves(rng: np.random.Generator, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Who leaves: likely with a large bill and no voice mail plan, with the international plan and few or long
    international calls, or after four service calls of someone who calls little by day.
    """
    bill_usd = sum(columns[name] for name in CHARGES)
    has_plan, has_voice_mail = columns["international_plan"] == 1, columns["voice_mail_plan"] == 1
    applies = (
        ((bill_usd > 74) & ~has_voice_mail)
        | (has_plan & ((columns["total_intl_calls"] <= 2) | (columns["total_intl_minutes"] > 13.1)))
        | ((columns["customer_service_calls"] >= 4) & (columns["total_day_minutes"] < 160))
    )
    found: NDArray[np.bool_] = rng.random(len(applies)) < np.where(applies, _LEAVE_BY_RULE, _LEAVE_OTHERWISE)
    return found


def block(number: int, *, seed: int) -> Block:
    """The customers of one block, `BLOCK` of them, in the order of `COLUMNS` and with who left."""
    rng = np.random.default_rng((seed, number))
    yes = PLAN_VALUES.index("yes")
    made: dict[str, NDArray[Any]] = {
        "account_length": _normal(rng, BLOCK, _TENURE_DAYS, digits=0),
        "state": rng.integers(0, len(CATEGORIES["state"].values), BLOCK),
        "area_code": _choice(rng, BLOCK, _AREA_CODES),
        "international_plan": yes * (rng.random(BLOCK) < _INTERNATIONAL_PLAN),
        "voice_mail_plan": yes * (rng.random(BLOCK) < _VOICE_MAIL_PLAN),
    }
    made["number_of_vmail_messages"] = made["voice_mail_plan"] * _normal(rng, BLOCK, _MESSAGES, digits=0)
    for period, figures in _CALLS.items():
        made[f"total_{period}_calls"] = _normal(rng, BLOCK, figures, digits=0)
    made["total_intl_calls"] = _choice(rng, BLOCK, _INTL_CALLS)
    made["customer_service_calls"] = _choice(rng, BLOCK, _SERVICE_CALLS)
    for minutes, charge, (period, rate) in zip(MINUTES, CHARGES, RATES_USD_PER_MINUTE.items(), strict=True):
        made[minutes] = _normal(rng, BLOCK, _MINUTES[period], digits=1)
        made[charge] = (made[minutes] * rate).round(2)
    leaves = _leaves(rng, made)
    columns = {
        name: Words(CATEGORIES[name].values, made[name]) if name in CATEGORIES else made[name] for name in COLUMNS
    }
    return {**columns, CHURN: leaves}


def _array(values: NDArray[Any] | Words) -> Array:
    if isinstance(values, Words):
        return Array(list(map(values.distinct.__getitem__, values.positions.tolist())), DataType.string())
    return Array.from_numpy(values)


def _batch(number: int, *, seed: int) -> RecordBatch:
    """A block as it is written, with an id for each customer: C000000001 is the first."""
    first = number * BLOCK + 1
    ids = Array([f"C{customer:09d}" for customer in range(first, first + BLOCK)], DataType.string())
    columns: dict[str, Any] = {CUSTOMER_ID: ids}
    columns |= {name: _array(values) for name, values in block(number, seed=seed).items()}
    return RecordBatch.from_pydict(columns)


def batches(n_rows: int, *, seed: int) -> Iterator[RecordBatch]:
    """So many customers, block by block."""
    for number in range(-(-n_rows // BLOCK)):
        yield _batch(number, seed=seed).slice(0, min(BLOCK, n_rows - number * BLOCK))


def write_population(path: Path, n_rows: int, *, seed: int) -> None:
    """Write a population to a CSV file, or to a Parquet file where the name ends so: the whole of it, or nothing."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    schema = _batch(0, seed=seed).schema

    def made() -> Iterator[RecordBatch]:
        with tqdm(total=n_rows, desc=path.name, unit=" customers", unit_scale=True, mininterval=0.5) as progress:
            for batch in batches(n_rows, seed=seed):
                yield batch
                progress.update(batch.num_rows)

    try:
        with unfinished.open("wb") as file:
            reader = RecordBatchReader.from_batches(schema, made())
            if path.suffix == ".parquet":
                write_parquet(reader, file, compression="snappy", max_row_group_size=_ROWS_PER_GROUP)
            else:
                write_csv(reader, file)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
