"""A file in parts that can be scored apart, in any process, and put together again in their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from telelink_shared.bulk.files import open_source
from telelink_shared.bulk.lines import MOST_BYTES_PER_LINE
from telelink_shared.bulk.table import Chunk, Format, Position, Source

SUFFIXES: Final[Mapping[str, Format]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
}
ROWS_PER_CHUNK: Final = 5_000
# Some 10,000 customers.
_BYTES_PER_PART: Final = 1024 * 1024


class UnknownFormat(ValueError):
    """The name of a file does not say what it holds."""


def format_of(path: Path) -> Format:
    """By the file's name.

    Raises:
        UnknownFormat
    """
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise UnknownFormat(f"{path}: the name must end in {', '.join(SUFFIXES)}") from None


@dataclass(frozen=True)
class Part:
    """Consecutive rows: those that begin from one place on, up to another."""

    start: Position
    end: Position


class _Window:
    """A file that ends where it is told to."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.end: int | None = None

    def read(self, n_bytes: int) -> bytes:
        left = n_bytes if self.end is None else min(n_bytes, self.end - self._file.tell())
        return self._file.read(max(left, 0))

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)


@dataclass
class PartedFile:
    """An open file of customers."""

    source: Source
    _file: BinaryIO
    _window: _Window

    def chunks(self, part: Part) -> Iterator[Chunk]:
        """The rows of a part.

        Raises:
            BadFile
        """
        if self.source.format == "parquet":
            yield next(self.source.chunks(ROWS_PER_CHUNK, part.start))
            return
        self._window.end = part.end.offset
        yield from self.source.chunks(ROWS_PER_CHUNK, part.start)

    def parts(self) -> Iterator[Part]:
        """The whole file; they are found without looking at what is in it, as far as that is possible.

        Raises:
            BadFile
        """
        if self.source.format == "parquet":
            for chunk in self.source.chunks(ROWS_PER_CHUNK):
                yield Part(chunk.start, chunk.end)
            return
        first = next(self.source.chunks(1), None)
        if first is None:
            return
        start = first.start
        while (end := self._end_of_part(start)).offset > start.offset:
            yield Part(start, end)
            start = end

    def _end_of_part(self, start: Position) -> Position:
        self._file.seek(start.offset)
        block = self._file.read(_BYTES_PER_PART)
        block += self._file.readline(MOST_BYTES_PER_LINE)
        # Where nothing is quoted every line feed ends a row.
        if self.source.format == "ndjson" or b'"' not in block:
            return Position(0, start.offset + len(block), start.line + block.count(b"\n"))
        self._window.end = None
        chunk = next(self.source.chunks(ROWS_PER_CHUNK, start), None)
        return start if chunk is None else chunk.end


@contextmanager
def open_parted(path: Path, format: Format, mapping: Mapping[str, str]) -> Iterator[PartedFile]:
    """A file of customers.

    Args:
        mapping: the field by header, for headers that are not known.

    Raises:
        BadFile: it cannot be scored.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        window = _Window(file)
        whole = file if format == "parquet" else cast("BinaryIO", window)
        yield PartedFile(open_source(whole, format, mapping), file, window)
