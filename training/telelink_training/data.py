"""Customers from a file, from OpenML or made up, as one normalised frame.

The frame has the canonical columns of `telelink_shared.customer` (words spelled canonically, numbers as float64),
a boolean `churn`, and `lifetime_value_usd` where the source has one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from telelink_shared.customer import (
    AREA_CODES,
    CATEGORIES,
    CHARGES,
    COLUMNS,
    ELEVEN,
    MINUTES,
    RATES_USD_PER_MINUTE,
    STATES,
    USAGE_PERIODS,
    UnknownSpelling,
    canonical_plan,
)
from telelink_shared.features import BadColumn, Rows, bill_usd, prepare

CHURN: Final = "churn"
LIFETIME_VALUE: Final = "lifetime_value_usd"
OPENML_ID: Final = 40701
MIN_ROWS: Final = 100

# Headers of the public copies that do not become ours by lower case and underscores alone.
_OTHER_NAMES: Final = {
    "number_vmail_messages": "number_of_vmail_messages",
    "number_customer_service_calls": "customer_service_calls",
    "class": CHURN,
    "lifetime_value": LIFETIME_VALUE,
    "clv": LIFETIME_VALUE,
}
_IGNORED: Final = frozenset({"phone_number", "customer_id", "phone", "id"})


class DataError(Exception):
    """Data that cannot be trained on. The message names columns and row counts, in one line."""


@dataclass(frozen=True)
class Dataset:
    """Customers to learn from.

    Attributes:
        frame: canonical columns, `churn`, and `lifetime_value_usd` where the source has it.
        source: what the data is, for the manifest and the model card; never a path.
    """

    frame: pd.DataFrame
    source: str

    @property
    def rows(self) -> Rows:
        """The customers as models see them."""
        return rows_of(self.frame)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the normalised rows, so that the same data has the same fingerprint however it is spelled."""
        return hashlib.sha256(self.frame.to_csv(index=False, float_format="%.6g").encode()).hexdigest()


def rows_of(frame: pd.DataFrame) -> Rows:
    """Prepared rows of a normalised frame, by the function that the services use."""
    raw = {column: frame[column].tolist() for column in COLUMNS if column in frame}
    return prepare(raw, n_rows=len(frame))


def _canonical_name(header: str) -> str:
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", header.strip())
    name = re.sub(r"[^a-z0-9]+", "_", snake.lower()).strip("_")
    return _OTHER_NAMES.get(name, name)


def _churn(values: pd.Series[Any]) -> pd.Series[bool]:
    def one(value: object) -> bool | None:
        if isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_)):
            return {0.0: False, 1.0: True}.get(float(value))
        try:
            return canonical_plan(bool(value) if isinstance(value, np.bool_) else value) == "yes"
        except UnknownSpelling:
            return {"0": False, "1": True}.get(str(value).strip())

    known = values.map({value: one(value) for value in values.unique()})
    if known.isna().any():
        raise DataError(
            f"column {CHURN}: must be yes/no, true/false or 1/0 ({int(known.isna().sum())} of {len(values)} rows)"
        )
    return known.astype(bool)


def _words(column: str, values: pd.Series[Any]) -> pd.Series[str]:
    category = CATEGORIES[column]
    spelled = {}
    for value in values.unique():
        plain = value.item() if isinstance(value, np.generic) else value
        try:
            spelled[value] = category.canonical(plain)
        except UnknownSpelling as error:
            n_rows = int((values.isna() if pd.isna(value) else values == value).sum())
            raise DataError(f"column {column}: {error} ({n_rows} of {len(values)} rows)") from error
    return values.map(spelled)


def normalise(raw: pd.DataFrame, *, source: str, column_map: Mapping[str, str] | None = None) -> Dataset:
    """The frame that everything else works on.

    Args:
        raw: any of the public copies, or a file with the same columns in any spelling of their names.
        source: what the data is.
        column_map: canonical name by header, for headers that are not recognised.

    Raises:
        DataError: columns are missing, hold what they cannot hold, or there is too little to learn from.
    """
    renamed = raw.rename(
        columns={name: (column_map or {}).get(str(name), _canonical_name(str(name))) for name in raw.columns}
    )
    doubled = sorted(set(renamed.columns[renamed.columns.duplicated()]))
    if doubled:
        raise DataError(f"columns given twice: {', '.join(doubled)}")
    missing = [column for column in (*ELEVEN, CHURN) if column not in renamed]
    if missing:
        raise DataError(f"columns missing: {', '.join(missing)} (found {len(raw.columns)} columns, {len(raw)} rows)")
    frame = pd.DataFrame({CHURN: _churn(renamed[CHURN])})
    for column in COLUMNS:
        if column in CATEGORIES:
            frame[column] = _words(column, renamed[column])
        elif column in renamed:
            numbers = pd.to_numeric(renamed[column], errors="coerce")
            bad = int((numbers.isna() & renamed[column].notna()).sum()) + (
                int(numbers.isna().sum()) if column in ELEVEN else 0
            )
            if bad:
                raise DataError(f"column {column}: must be a number ({bad} of {len(renamed)} rows)")
            frame[column] = numbers.astype(np.float64)
    if LIFETIME_VALUE in renamed:
        frame[LIFETIME_VALUE] = pd.to_numeric(renamed[LIFETIME_VALUE], errors="coerce")
        bad = int(frame[LIFETIME_VALUE].isna().sum())
        if bad:
            raise DataError(f"column {LIFETIME_VALUE}: must be a number ({bad} of {len(frame)} rows)")
    if len(frame) < MIN_ROWS:
        raise DataError(f"{len(frame)} rows are too few: at least {MIN_ROWS} are needed")
    if frame[CHURN].nunique() < 2:
        raise DataError(
            f"column {CHURN}: all {len(frame)} rows say {'yes' if frame[CHURN].iloc[0] else 'no'}; both are needed"
        )
    dataset = Dataset(frame, source)
    try:
        dataset.rows  # noqa: B018  the services' own check
    except BadColumn as error:
        raise DataError(f"column {error}") from error
    return dataset


def load_csv(path: Path, *, column_map: Mapping[str, str] | None = None) -> Dataset:
    """Customers from a CSV file with a header.

    Raises:
        DataError: it cannot be read, or see `normalise`.
    """
    try:
        raw = pd.read_csv(path, skipinitialspace=True, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error})") from error
    return normalise(raw, source=path.name, column_map=column_map)


def load_openml() -> Dataset:
    """The public data set from OpenML (id 40701), with its states as numbers put back into letters.

    Raises:
        DataError: it cannot be downloaded.
    """
    from sklearn.datasets import fetch_openml

    try:
        raw = fetch_openml(data_id=OPENML_ID, as_frame=True, parser="auto").frame
    except OSError as error:
        raise DataError(f"OpenML data set {OPENML_ID} cannot be downloaded ({error}); give a CSV instead") from error
    return normalise(from_openml(raw), source=f"OpenML {OPENML_ID}")


def from_openml(raw: pd.DataFrame) -> pd.DataFrame:
    """OpenML's copy numbers the states in alphabetical order; everything else is only spelled differently."""
    state = pd.to_numeric(raw["state"], errors="coerce")
    if state.notna().all():
        raw = raw.assign(state=[STATES[int(number)] for number in state])
    return raw


def synthetic(n_rows: int, *, seed: int = 0) -> Dataset:
    """Made-up customers with the columns, ranges and churn rules of the public data, for tests and trials.

    A customer is likely to leave with a large bill and no voice mail plan, with the international plan and few or
    long international calls, or after four service calls by someone who calls little by day.
    """
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({CHURN: np.zeros(n_rows, dtype=bool)})
    frame["account_length"] = np.clip(rng.normal(101, 40, n_rows).round(), 1, 243)
    frame["state"] = rng.choice(STATES, n_rows)
    frame["area_code"] = rng.choice(AREA_CODES, n_rows, p=(0.25, 0.5, 0.25))
    frame["international_plan"] = np.where(rng.random(n_rows) < 0.097, "yes", "no")
    frame["voice_mail_plan"] = np.where(rng.random(n_rows) < 0.277, "yes", "no")
    messages = np.clip(rng.normal(29, 7.5, n_rows).round(), 4, 51)
    frame["number_of_vmail_messages"] = np.where(frame["voice_mail_plan"] == "yes", messages, 0.0)
    spread = {
        "day": (180, 54, 100, 20),
        "eve": (201, 51, 100, 20),
        "night": (201, 51, 100, 20),
        "intl": (10.2, 2.8, 4.5, 2.4),
    }
    for period, (minutes, minutes_sd, calls, calls_sd) in spread.items():
        frame[f"total_{period}_minutes"] = np.clip(rng.normal(minutes, minutes_sd, n_rows), 0, None).round(1)
        frame[f"total_{period}_calls"] = np.clip(rng.normal(calls, calls_sd, n_rows).round(), 0, None)
    for period, minutes_column, charge in zip(USAGE_PERIODS, MINUTES, CHARGES, strict=True):
        frame[charge] = (frame[minutes_column] * RATES_USD_PER_MINUTE[period]).round(2)
    frame["customer_service_calls"] = np.clip(rng.poisson(1.56, n_rows), 0, 9).astype(np.float64)
    bill = frame[list(CHARGES)].sum(axis=1)
    has_intl, has_voice_mail = frame["international_plan"] == "yes", frame["voice_mail_plan"] == "yes"
    leaves = (
        ((bill > 74) & ~has_voice_mail)
        | (has_intl & ((frame["total_intl_calls"] <= 2) | (frame["total_intl_minutes"] > 13.1)))
        | ((frame["customer_service_calls"] >= 4) & (frame["total_day_minutes"] < 160))
    )
    frame[CHURN] = rng.random(n_rows) < np.where(leaves, 0.92, 0.025)
    return normalise(frame[[*COLUMNS, CHURN]], source=f"synthetic, {n_rows} rows, seed {seed}")


def lifetime_value_usd(dataset: Dataset, *, seed: int) -> tuple[np.ndarray[Any, np.dtype[np.float64]], bool]:
    """The target of the value model, in US dollars, and whether it is simulated.

    Where the source has no lifetime value it is made up: 100 a day of tenure, 35 for each dollar of the bill, 500 for
    the international and 300 for the voice mail plan, normal noise (standard deviation 1,000), at least 50.
    """
    frame = dataset.frame
    if LIFETIME_VALUE in frame:
        return frame[LIFETIME_VALUE].to_numpy(np.float64), False
    missing = [column for column in MINUTES if np.isnan(dataset.rows.numbers[column]).any()]
    if missing:
        raise DataError(
            f"a lifetime value cannot be simulated without usage (missing in {', '.join(missing)}); "
            f"add a column {LIFETIME_VALUE}"
        )
    noise = np.random.default_rng(seed).normal(0.0, 1_000.0, len(frame))
    value = (
        100.0 * frame["account_length"].to_numpy()
        + 35.0 * bill_usd(dataset.rows)
        + 500.0 * (frame["international_plan"] == "yes").to_numpy()
        + 300.0 * (frame["voice_mail_plan"] == "yes").to_numpy()
        + noise
    )
    return np.maximum(value, 50.0), True
