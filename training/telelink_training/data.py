"""Customers from a file, from OpenML or made up, as one normalised frame.

The frame has the canonical columns of `telelink_shared.customer` (words spelled canonically, numbers as float64),
a boolean `churn`, and `lifetime_value_usd` where the source has one.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from pandas.errors import ParserWarning

from telelink_shared.customer import (
    CATEGORIES,
    COLUMNS,
    ELEVEN,
    MINUTES,
    PLAN_VALUES,
    STATES,
    USAGE,
    UnknownSpelling,
    canonical_plan,
)
from telelink_shared.features import BadColumn, Rows, Words, bill_usd, prepare
from telelink_shared.headers import CHURN as CHURN
from telelink_shared.headers import LIFETIME_VALUE as LIFETIME_VALUE
from telelink_shared.headers import canonical_name
from telelink_training.population import BLOCK, Block, block

OPENML_ID: Final = 40701
MIN_ROWS: Final = 100
# With a fifth held out and five folds, each fit still sees the six that SMOTE needs.
MIN_OF_EACH: Final = 10

# What some public copies, OpenML's among them, write as numbers: the states in alphabetical order, plans and churn.
_NUMBERED: Final = {
    "state": STATES,
    "international_plan": PLAN_VALUES,
    "voice_mail_plan": PLAN_VALUES,
    CHURN: PLAN_VALUES,
}


class DataError(Exception):
    """Data that cannot be trained on. The message names columns and row counts, in one line."""


@dataclass(frozen=True)
class Dataset:
    """Customers to learn from.

    Attributes:
        frame: canonical columns, `churn`, and `lifetime_value_usd` where the source has it.
        source: what the data is, for the manifest and the model card; never a path.
        part_of: fingerprint of the data that these rows are the greater part of; None for a source as it is.
    """

    frame: pd.DataFrame
    source: str
    part_of: str | None = None

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


def known(rows: Rows, columns: Sequence[str]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which rows have a value in each of these columns; shape (n_rows,)."""
    have_all = np.ones(rows.n_rows, dtype=bool)
    for column in columns:
        have_all &= ~np.isnan(rows.numbers[column])
    return have_all


def _unnumbered(column: str, value: object) -> object:
    words = dict(enumerate(_NUMBERED.get(column, ())))
    try:
        return words.get(float(str(value)), value)  # type: ignore[call-overload]  # 1.0 finds 1
    except ValueError:
        return value


def _words(column: str, values: pd.Series[Any], *, label: str) -> pd.Series[str]:
    canonical = CATEGORIES[column].canonical if column in CATEGORIES else canonical_plan
    spelled, reason = {}, ""
    for value in values.unique():
        plain = value.item() if isinstance(value, np.generic) else value
        try:
            spelled[value] = canonical(_unnumbered(column, plain))
        except UnknownSpelling as error:
            reason = str(error)
    words = values.astype(object).map(spelled)
    if reason:
        raise DataError(f"column {label}: {reason} ({int(words.isna().sum())} of {len(values)} rows)")
    return words.astype("str")


def _numbers(column: str, values: pd.Series[Any], *, label: str) -> pd.Series[float]:
    numbers = pd.to_numeric(values.astype(object), errors="coerce").astype(np.float64)
    lowest, what = (-np.inf, "a number") if column == LIFETIME_VALUE else (0.0, "a number from 0 on")
    good = np.isfinite(numbers) & (numbers >= lowest)
    if column in USAGE:
        good |= values.isna()
    if not good.all():
        raise DataError(f"column {label}: must be {what} ({int((~good).sum())} of {len(values)} rows)")
    return numbers


def _renamed(raw: pd.DataFrame, column_map: Mapping[str, str]) -> pd.DataFrame:
    """With canonical names. A header that is mapped to a column counts for it, whatever else is called like it."""
    headers = [str(name) for name in raw.columns]
    names = [column_map.get(header, canonical_name(header)) for header in headers]
    mapped = set(column_map.values())
    kept = [header in column_map or name not in mapped for header, name in zip(headers, names, strict=True)]
    chosen = raw.loc[:, kept]
    return chosen.set_axis([name for name, is_kept in zip(names, kept, strict=True) if is_kept], axis=1)


def normalise(raw: pd.DataFrame, *, source: str, column_map: Mapping[str, str] | None = None) -> Dataset:
    """The frame that everything else works on.

    Args:
        raw: any of the public copies, or a file with the same columns in any spelling of their names.
        source: what the data is.
        column_map: canonical name by header, for headers that are not recognised.

    Raises:
        DataError: columns are missing, hold what they cannot hold, or there is too little to learn from.
    """
    mapped = column_map or {}
    size = f"found {len(raw.columns)} columns, {len(raw)} rows"
    unknown = sorted({*mapped} - {str(name) for name in raw.columns})
    if unknown:
        raise DataError(f"columns to be mapped are missing: {', '.join(unknown)} ({size})")
    renamed = _renamed(raw, mapped)
    known = (*COLUMNS, CHURN, LIFETIME_VALUE)
    doubled = sorted({name for name in renamed.columns[renamed.columns.duplicated()] if name in known})
    if doubled:
        raise DataError(f"columns given twice: {', '.join(doubled)} ({size})")
    missing = [column for column in (*ELEVEN, CHURN) if column not in renamed]
    if missing:
        raise DataError(f"columns missing: {', '.join(missing)} ({size})")
    if len(raw) < MIN_ROWS:
        raise DataError(f"{len(raw)} rows are too few: at least {MIN_ROWS} are needed")
    labels = {column: f"{column} ({header})" for header, column in mapped.items()}
    frame = pd.DataFrame(
        {
            column: (_words if column in (*CATEGORIES, CHURN) else _numbers)(
                column, renamed[column], label=labels.get(column, column)
            )
            for column in (CHURN, *COLUMNS, LIFETIME_VALUE)
            if column in renamed
        }
    )
    try:
        rows_of(frame)
    except BadColumn as error:
        column = labels.get(error.column, error.column)
        raise DataError(f"column {column}: {error.reason} ({error.n_rows} of {len(frame)} rows)") from error
    frame[CHURN] = frame[CHURN] == "yes"
    n_leaving = int(frame[CHURN].sum())
    if min(n_leaving, len(frame) - n_leaving) < MIN_OF_EACH:
        raise DataError(
            f"column {labels.get(CHURN, CHURN)}: {n_leaving} of {len(frame)} rows say yes; at least {MIN_OF_EACH} of "
            "each are needed"
        )
    n_repeated = int(frame.duplicated().sum())
    if n_repeated:
        raise DataError(
            f"{n_repeated} of {len(frame)} rows repeat another row in every column used: give each customer once"
        )
    return Dataset(frame, source)


def must_not_overlap(train: Dataset, test: Dataset) -> None:
    """Rows to report on must be others than those that are trained on.

    Raises:
        DataError: some are the same in every column.
    """
    columns = [column for column in train.frame if column in test.frame]
    both = pd.concat([train.frame[columns].drop_duplicates(), test.frame[columns]])
    n_shared = int(both.duplicated().sum())
    if n_shared:
        raise DataError(
            f"{n_shared} of {len(test.frame)} rows of {test.source} are also in {train.source}: report on other rows"
        )


def load_csv(path: Path, *, column_map: Mapping[str, str] | None = None) -> Dataset:
    """Customers from a CSV file with a header.

    Raises:
        DataError: it cannot be read, or see `normalise`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)
            raw = _read(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ParserWarning as error:
        raise DataError(f"{path}: is no CSV file (rows have more fields than the header)") from error
    except ValueError as error:  # what pandas and the decoder raise is of this kind
        raise DataError(f"{path}: is no CSV file ({_one_line(error)})") from error
    return normalise(raw, source=path.name, column_map=column_map)


def _read(path: Path) -> pd.DataFrame:
    """The table with its headers as they stand there: pandas would rename one that is given twice."""
    first = pd.read_csv(path, skipinitialspace=True, compression=None, header=None, nrows=1, dtype=str)
    # Without `index_col` a further field in every row makes the first column an index, and moves all others.
    raw = pd.read_csv(path, skipinitialspace=True, compression=None, index_col=False)
    return raw.set_axis([str(header) for header in first.iloc[0]], axis=1)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def load_openml() -> Dataset:
    """The public data set from OpenML (id 40701).

    Raises:
        DataError: it cannot be downloaded.
    """
    from sklearn.datasets import fetch_openml

    try:
        raw = fetch_openml(data_id=OPENML_ID, as_frame=True, parser="auto").frame
    except (OSError, ValueError, HTTPException) as error:
        raise DataError(
            f"OpenML data set {OPENML_ID} cannot be downloaded ({_one_line(error)}); give a CSV instead"
        ) from error
    return normalise(raw, source=f"OpenML {OPENML_ID}")


def synthetic(n_rows: int, *, seed: int = 0) -> Dataset:
    """Customers of the made-up population, for tests and trials."""
    blocks = [_frame(block(number, seed=seed)) for number in range(-(-n_rows // BLOCK))]
    frame = pd.concat(blocks, ignore_index=True).head(n_rows)
    return normalise(frame, source=f"synthetic, {n_rows} rows, seed {seed}")


def _frame(columns: Block) -> pd.DataFrame:
    return pd.DataFrame(
        {
            name: np.array(values.distinct)[values.positions] if isinstance(values, Words) else values
            for name, values in columns.items()
        }
    )


def formula_usd(dataset: Dataset) -> np.ndarray[Any, np.dtype[np.float64]]:
    """What a simulated lifetime value is before noise, in US dollars; NaN where the usage is not known."""
    frame = dataset.frame
    value: np.ndarray[Any, np.dtype[np.float64]] = (
        100.0 * frame["account_length"].to_numpy()
        + 35.0 * bill_usd(dataset.rows)
        + 500.0 * (frame["international_plan"] == "yes").to_numpy()
        + 300.0 * (frame["voice_mail_plan"] == "yes").to_numpy()
    )
    return value


def lifetime_value_usd(dataset: Dataset, *, seed: int) -> tuple[np.ndarray[Any, np.dtype[np.float64]], bool]:
    """The target of the value model, in US dollars, and whether it is simulated.

    Where the source has no lifetime value it is made up: 100 a day of tenure, 35 for each dollar of the bill, 500 for
    the international and 300 for the voice mail plan, normal noise (standard deviation 1,000), at least 50.

    Raises:
        DataError: it would have to be made up, and the usage is not known.
    """
    frame = dataset.frame
    if LIFETIME_VALUE in frame:
        return frame[LIFETIME_VALUE].to_numpy(np.float64), False
    formula = formula_usd(dataset)
    n_unknown = int(np.isnan(formula).sum())
    if n_unknown:
        raise DataError(
            f"a lifetime value cannot be simulated without usage ({', '.join(MINUTES)}: missing in {n_unknown} of "
            f"{len(frame)} rows); add a column {LIFETIME_VALUE}"
        )
    noise = np.random.default_rng(seed).normal(0.0, 1_000.0, len(frame))
    return np.maximum(formula + noise, 50.0), True
