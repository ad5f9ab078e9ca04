"""What the parts of bulk scoring hand to each other: chunks of a file, and which of its columns is which field."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, NamedTuple, Protocol

from pydantic.alias_generators import to_camel

from telelink_shared.customer import COLUMNS, ELEVEN
from telelink_shared.decision import Decision
from telelink_shared.headers import canonical_name

Format = Literal["csv", "ndjson", "parquet"]

MEDIA_TYPES: Final[Mapping[str, Format]] = {
    "text/csv": "csv",
    "application/x-ndjson": "ndjson",
    "application/vnd.apache.parquet": "parquet",
}

CUSTOMER_ID: Final = "customer_id"
FIELDS: Final = (*COLUMNS, CUSTOMER_ID)
"""What is looked for in a file; every other column is handed through."""

CAMEL: Final[Mapping[str, str]] = {column: to_camel(column) for column in FIELDS}
"""The API's name of each field: the one that is told to people."""

OURS: Final = (
    "churn_probability",
    "churn_risk",
    "estimated_clv",
    "clv_lower",
    "clv_upper",
    "recommendation",
    "confidence",
    "value_at_risk",
    "error",
)
"""Columns that a result adds, behind the file's own. A file's own columns of these names are left out."""


_MOST_COLUMNS: Final = 1_000

ABSENT: Final = object()
"""Stands for a member that a JSON object has not; None is one that is null."""


class BadFile(ValueError):
    """A file that cannot be scored at all, or not further than to here. The message never repeats what is in it.

    Attributes:
        code: for programs.
        columns: those that it is about, where it is about some.
    """

    def __init__(self, code: str, message: str, *, columns: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.columns = tuple(columns)

    def __reduce__(self) -> tuple[type[BadFile], tuple[str, str], dict[str, object]]:
        """So that it comes out of another process as it went in."""
        return type(self), (self.code, str(self)), {"columns": self.columns}


class Fault(NamedTuple):
    """One thing that is wrong with a row.

    Attributes:
        line: where the row begins in the file, from 1; in a Parquet file the number of the row.
        field: the API's name of it; empty for the row itself.
        code, reason: as the API's own errors have them.
    """

    line: int
    field: str
    code: str
    reason: str


class Position(NamedTuple):
    """Where a chunk begins.

    Attributes:
        row: how many rows there are before it.
        offset: in bytes; of no meaning in a Parquet file.
        line: the number of its first line, from 1.
    """

    row: int = 0
    offset: int = 0
    line: int = 1


@dataclass(frozen=True)
class Layout:
    """Which column of a file is what.

    Attributes:
        headers: as they stand in the file.
        kept: positions of those that go into the result.
        positions: of the fields that there are.
        decimal_comma: whether a comma in a number, which is text there, is its decimal point.
    """

    headers: tuple[str, ...]
    kept: tuple[int, ...]
    positions: Mapping[str, int]
    decimal_comma: bool = False

    @property
    def keeps_all(self) -> bool:
        """Whether nothing of a row is left out."""
        return len(self.kept) == len(self.headers)

    @property
    def kept_names(self) -> tuple[str, ...]:
        """Headers of the kept columns, with a number behind one that came before: names, where these must differ."""
        names: list[str] = []
        for position in self.kept:
            name, again = self.headers[position], 2
            while name in names:
                name, again = f"{self.headers[position]} ({again})", again + 1
            names.append(name)
        return tuple(names)


def layout_of(
    headers: Sequence[str], mapping: Mapping[str, str] | None = None, *, decimal_comma: bool = False
) -> Layout:
    """Which of these columns is what.

    Args:
        mapping: the field by header, for headers that are not known; a field may be spelled in any known way.
        decimal_comma: see `Layout`.

    Raises:
        BadFile: a field that every customer needs is missing, one is given twice, there are too many columns, or the
            mapping cannot be.
    """
    if len(headers) > _MOST_COLUMNS:
        raise BadFile("too_many_columns", f"The file has more than {_MOST_COLUMNS:,} columns.")
    wanted = {header: canonical_name(field) for header, field in (mapping or {}).items()}
    if not set(wanted.values()) <= {*FIELDS}:
        raise BadFile("unknown_field", "The mapping names a field that there is not.")
    if not wanted.keys() <= {*headers}:
        raise BadFile("unknown_header", "The mapping names a column that the file has not.")
    names = [wanted.get(header, canonical_name(header)) for header in headers]
    taken = set(wanted.values())
    positions: dict[str, int] = {}
    doubled = []
    for position, (header, name) in enumerate(zip(headers, names, strict=True)):
        # A column that is mapped to a field counts for it, whatever else is called like it.
        if name not in FIELDS or (name in taken and header not in wanted):
            continue
        if name in positions:
            doubled.append(CAMEL[name])
        positions[name] = position
    if doubled:
        raise BadFile("column_twice", f"Columns are given twice: {', '.join(doubled)}.")
    missing = [column for column in ELEVEN if column not in positions]
    if missing:
        told = ", ".join(CAMEL[column] for column in missing)
        raise BadFile("column_missing", f"Columns are missing: {told}.", columns=missing)
    kept = tuple(position for position, header in enumerate(headers) if header not in OURS)
    return Layout(tuple(headers), kept, positions, decimal_comma)


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a file.

    Attributes:
        start: where they begin.
        end: where the next ones do.
        lines: where each row begins, as in `Fault`.
        columns: the values of each header, in its order: text of a CSV file, JSON values (`ABSENT` where there is none)
            or those of a Parquet file.
        records: each row as it stands in the file, without its end of line; empty for a Parquet file.
        faults: of rows that could not be read; their values count for nothing.
        batch: the same rows as Arrow has them, of a Parquet file.
    """

    start: Position
    end: Position
    lines: Sequence[int]
    columns: Sequence[Sequence[Any]]
    records: Sequence[str]
    faults: Mapping[int, Fault]
    batch: Any = None

    @property
    def n_rows(self) -> int:
        """How many rows these are."""
        return len(self.lines)


@dataclass(frozen=True)
class Checked:
    """The valid rows of a chunk, as columns, and what is wrong with the others.

    Attributes:
        good: positions of the valid rows in the chunk; all columns have as many values.
        numbers: NaN where a value is not known; an optional column that the file has not is left out.
        words: canonical.
        customer_ids: None where there is none.
        faults: by position in the chunk.
    """

    n_rows: int
    good: Sequence[int]
    numbers: Mapping[str, array[float]]
    words: Mapping[str, Sequence[str]]
    customer_ids: Sequence[str | None]
    faults: Mapping[int, Sequence[Fault]]

    def without(self, faults: Mapping[int, Fault]) -> Checked:
        """The same with further faults, by the place of their rows among the valid ones."""
        kept = [place for place in range(len(self.good)) if place not in faults]
        return Checked(
            self.n_rows,
            [self.good[place] for place in kept],
            {name: array("d", [values[place] for place in kept]) for name, values in self.numbers.items()},
            {name: [values[place] for place in kept] for name, values in self.words.items()},
            [self.customer_ids[place] for place in kept],
            {**self.faults, **{self.good[place]: (fault,) for place, fault in faults.items()}},
        )

    def part(self, start: int, stop: int) -> Checked:
        """Some of the valid rows, by their place among these."""
        return Checked(
            self.n_rows,
            self.good[start:stop],
            {name: values[start:stop] for name, values in self.numbers.items()},
            {name: values[start:stop] for name, values in self.words.items()},
            self.customer_ids[start:stop],
            {},
        )


@dataclass(frozen=True)
class Decided:
    """Figures as they are shown, and the decision on them, for each valid row of a chunk."""

    probabilities: Sequence[float]
    values_usd: Sequence[float]
    lower_usd: Sequence[float]
    upper_usd: Sequence[float]
    decisions: Sequence[Decision]


class Scored(NamedTuple):
    """A chunk, what was found of its rows, and what is told about those that are valid."""

    chunk: Chunk
    checked: Checked
    decided: Decided


class Source(Protocol):
    """An open file of customers.

    Attributes:
        format: what it is.
        is_text: whether its values are all text, numbers too.
        layout: of its columns.
    """

    format: ClassVar[Format]
    is_text: ClassVar[bool]
    layout: Layout

    def chunks(self, n_rows: int, start: Position | None = None) -> Iterator[Chunk]:
        """The rows from a position on (none: all), so many at a time: the last chunk alone may have fewer.

        Raises:
            BadFile: it cannot be read any further.
        """
        ...
