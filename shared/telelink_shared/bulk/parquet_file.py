"""Parquet, by a small reader and writer of Arrow's own family (arro3): it needs no numpy, and streams both ways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, ClassVar, Final

from arro3.core import Array, DataType, Field, RecordBatch, RecordBatchReader, Schema, Table
from arro3.io import read_parquet, write_parquet

from telelink_shared.bulk.cells import said, text_of
from telelink_shared.bulk.table import OURS, BadFile, Chunk, Format, Layout, Position, Scored, layout_of

# What is held while a file is written; readers skip as many rows at once by their statistics.
_ROWS_PER_GROUP: Final = 64 * 1024
# Where pages end follows from the batches that are written; so all have this size, however rows come in.
_ROWS_PER_BATCH: Final = 5_000
# A value of any size takes a few bytes of a file that repeats it, and its whole size here, again and again.
_MOST_BYTES_PER_CHUNK: Final = 32 * 1024 * 1024
_WORDS: Final = frozenset({"churn_risk", "recommendation", "confidence", "error"})


class ParquetSource:
    """See `Source`.

    Args:
        file: able to go to any place.
    """

    format: ClassVar[Format] = "parquet"
    is_text: ClassVar[bool] = False

    def __init__(self, file: BinaryIO, mapping: Mapping[str, str] | None = None) -> None:
        self._file = file
        self._n_rows = 1
        self._read_to = -1
        self._batches = self._read(1)
        self.schema = self._batches.schema
        self.layout = layout_of([self.schema.field(position).name for position in range(len(self.schema))], mapping)

    def _read(self, n_rows: int) -> RecordBatchReader:
        self._file.seek(0)
        with _bad_file_if_it_fails():
            return read_parquet(self._file, batch_size=n_rows)

    def chunks(self, n_rows: int, start: Position | None = None) -> Iterator[Chunk]:
        """See `Source.chunks`. The rows before a position are read, and let go of; only on from where it was before."""
        start = start or Position()
        if n_rows != self._n_rows or not 0 <= self._read_to <= start.row:
            self._batches, self._n_rows, self._read_to = self._read(n_rows), n_rows, 0
        while True:
            with _bad_file_if_it_fails():
                batch: Any = next(self._batches, None)
                if batch is None:
                    self._read_to = -1
                    return
                begin = self._read_to
                self._read_to += batch.num_rows
                if begin < start.row:
                    continue
                if batch.nbytes > _MOST_BYTES_PER_CHUNK:
                    raise BadFile("rows_too_large", "The values of the file's rows are too large.")
                columns = [batch.column(position).to_pylist() for position in range(batch.num_columns)]
            end = self._read_to
            yield Chunk(Position(begin), Position(end), range(begin + 1, end + 1), columns, (), {}, batch)


@contextmanager
def _bad_file_if_it_fails() -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        # The library fails by errors of any kind; what it did not think of is not even an Exception.
        is_theirs = isinstance(error, Exception) or type(error).__name__ == "PanicException"
        if isinstance(error, (BadFile, MemoryError)) or not is_theirs:
            raise
        raise BadFile("not_parquet", "The file cannot be read as Parquet, or not to its end.") from error


class ParquetResult:
    """Writes a result as Parquet: a Parquet file's columns as they are, those of others as text, and ours."""

    def __init__(self, layout: Layout, schema: Schema | None = None) -> None:
        self._layout = layout
        self._is_arrow = schema is not None
        theirs = (
            [Field(name, DataType.string()) for name in layout.kept_names]
            if schema is None
            else [schema.field(position) for position in layout.kept]
        )
        self.schema = Schema(
            [*theirs, *(Field(name, DataType.string() if name in _WORDS else DataType.float64()) for name in OURS)]
        )

    def write(self, scored: Iterable[Scored], file: Any) -> None:
        """All of a result, as it comes in.

        Args:
            file: has `write`, and need not be able to go back.
        """
        self.write_batches(map(self.batch, scored), file)

    def write_batches(self, batches: Iterable[RecordBatch], file: Any) -> None:
        """The same of batches, wherever they were made."""
        reader = RecordBatchReader.from_batches(self.schema, _even(batches, self.schema))
        write_parquet(reader, file, compression="snappy", max_row_group_size=_ROWS_PER_GROUP)

    def batch(self, scored: Scored) -> RecordBatch:
        """The rows of a chunk."""
        chunk = scored.chunk
        if self._is_arrow:
            theirs = [chunk.batch.column(position) for position in self._layout.kept]
        else:
            theirs = [
                Array(list(map(_clean, chunk.columns[position])), DataType.string()) for position in self._layout.kept
            ]
        return RecordBatch.from_arrays([*theirs, *self._ours(scored)], schema=self.schema)

    @staticmethod
    def _ours(scored: Scored) -> list[Array]:
        checked, decided = scored.checked, scored.decided
        columns: Sequence[Sequence[Any]] = (
            decided.probabilities,
            [decision.tier for decision in decided.decisions],
            decided.values_usd,
            decided.lower_usd,
            decided.upper_usd,
            [decision.recommendation for decision in decided.decisions],
            [decision.confidence for decision in decided.decisions],
            [decision.value_at_risk_usd for decision in decided.decisions],
        )
        arrays = []
        for name, values in zip(OURS, columns, strict=False):
            if checked.faults:
                every: list[Any] = [None] * checked.n_rows
                for row, value in zip(checked.good, values, strict=True):
                    every[row] = value
                values = every
            arrays.append(Array(list(values), DataType.string() if name in _WORDS else DataType.float64()))
        errors = [said(checked.faults[row]) if row in checked.faults else None for row in range(checked.n_rows)]
        return [*arrays, Array(errors, DataType.string())]


def _even(batches: Iterable[RecordBatch], schema: Schema) -> Iterator[RecordBatch]:
    """The same rows in batches of one size, but for the last."""
    waiting: list[RecordBatch] = []
    n_waiting = 0

    def together() -> Iterator[RecordBatch]:
        yield from Table.from_batches(waiting, schema=schema).combine_chunks().to_batches()

    for batch in batches:
        rest = batch
        while rest.num_rows:
            part = rest.slice(0, min(_ROWS_PER_BATCH - n_waiting, rest.num_rows))
            rest = rest.slice(part.num_rows)
            waiting.append(part)
            n_waiting += part.num_rows
            if n_waiting == _ROWS_PER_BATCH:
                yield from together()
                waiting, n_waiting = [], 0
    if waiting:
        yield from together()


def _clean(value: object) -> str | None:
    text = text_of(value)
    if not text and not isinstance(value, str):
        return None
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
