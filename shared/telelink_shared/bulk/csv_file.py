"""CSV: with a byte order mark or without, lines ended by CR LF or LF, parted by commas, semicolons or tabs, and quoted.

A row of the result is the row of the file as it stands there, with our columns behind it.

Where semicolons part the cells, as of spreadsheets whose language has decimal commas, a comma in a number is its
decimal point. Our own columns have points in every file.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import BinaryIO, ClassVar, Final

from telelink_shared.bulk.cells import FORMULAS, harmless, said, text_of
from telelink_shared.bulk.lines import decoded, lines_of
from telelink_shared.bulk.table import (
    CUSTOMER_ID,
    OURS,
    BadFile,
    Checked,
    Chunk,
    Decided,
    Fault,
    Format,
    Layout,
    Position,
    Scored,
    layout_of,
)

# Of the whole process, results too: what fits into a line fits into a cell. The library would take half of that.
csv.field_size_limit(32 * 1024 * 1024)

_DELIMITERS: Final = ",;\t"
# A quoted cell may hold line breaks; one that is never closed must not swallow the rest of the file.
_MOST_LINES_PER_ROW: Final = 100
_NOT_CLOSED: Final = "has a quotation mark that is not closed"
_BLANK: Final = b" \t\r\n\v\f"
_NOTHING: Final[Sequence[str]] = ("",) * len(OURS)


class CsvSource:
    """See `Source`.

    Args:
        file: open at its beginning, and able to go back there.

    Attributes:
        delimiter, end_of_line, has_mark: how the file is written; its result is written alike.
    """

    format: ClassVar[Format] = "csv"
    is_text: ClassVar[bool] = True

    def __init__(self, file: BinaryIO, mapping: Mapping[str, str] | None = None) -> None:
        self._file = file
        lines = lines_of(file)
        head = b""
        for number, line in enumerate(lines):
            head += line
            if head.count(b'"') % 2 == 0 and head.removeprefix(codecs.BOM_UTF8).strip():
                break
            if number >= _MOST_LINES_PER_ROW:
                raise BadFile("no_header", "The file does not begin with a row of column names.")
        if not head.removeprefix(codecs.BOM_UTF8).strip():
            raise BadFile("empty", "The file is empty.")
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise BadFile("not_utf8", "The file must be UTF-8; this one is UTF-16.")
        self.has_mark = head.startswith(codecs.BOM_UTF8)
        try:
            text = head.removeprefix(codecs.BOM_UTF8).decode()
        except UnicodeDecodeError as error:
            raise BadFile("not_utf8", "The file must be UTF-8; its first row is not.") from error
        self.end_of_line = "\r\n" if text.endswith("\r\n") else "\n"
        # Blank lines may come before it.
        text = text.lstrip(" \r\n").rstrip("\r\n")
        outside = re.sub(r'"[^"]*"', "", text)
        if "\r" in outside:
            raise BadFile("line_ends", "Lines must end with LF or CR LF; those of this file end with CR alone.")
        self.delimiter = max(_DELIMITERS, key=outside.count)
        # What a blank line may consist of; a line of delimiters is a row without values.
        self._blank = _BLANK.replace(self.delimiter.encode(), b"")
        try:
            headers = next(csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter))
        except csv.Error as error:
            raise BadFile("no_header", "The file does not begin with a row of column names.") from error
        names = [header.strip() for header in headers]
        self.layout = layout_of(names, mapping, decimal_comma=self.delimiter == ";")
        self._begin = Position(0, len(head), head.count(b"\n") + 1)

    def chunks(self, n_rows: int, start: Position | None = None) -> Iterator[Chunk]:
        """See `Source.chunks`."""
        start = start or self._begin
        self._file.seek(start.offset)
        waiting: deque[bytes] = deque()
        lines = lines_of(self._file)
        while True:
            while len(waiting) < n_rows and (line := next(lines, None)) is not None:
                waiting.append(line)
            if not waiting:
                return
            chunk = self._plain(waiting, n_rows, start) or self._any(waiting, lines, n_rows, start)
            if chunk.n_rows:
                yield chunk
            start = chunk.end

    def _plain(self, waiting: deque[bytes], n_rows: int, start: Position) -> Chunk | None:
        """Rows of a line each: nothing is quoted, no line is empty and each has as many cells as there are headers."""
        joined = b"".join(waiting)
        if len(waiting) > n_rows or b'"' in joined:
            return None
        try:
            text = joined.decode()
        except UnicodeDecodeError:
            return None
        text = text.replace("\r\n", "\n").removesuffix("\n")
        records = text.split("\n")
        parting, n_cells = self.delimiter, len(self.layout.headers)
        if "\r" in text or "" in records or {*map(str.count, records, repeat(parting))} != {n_cells - 1}:
            return None
        # All cells at once, and of these every so manieth.
        cells = text.replace("\n", parting).split(parting)
        columns = [cells[position::n_cells] for position in range(n_cells)]
        end = Position(start.row + len(records), start.offset + len(joined), start.line + len(records))
        waiting.clear()
        return Chunk(start, end, range(start.line, end.line), columns, records, {})

    def _any(self, waiting: deque[bytes], lines: Iterator[bytes], n_rows: int, start: Position) -> Chunk:
        n_cells = len(self.layout.headers)
        rows: list[Sequence[str]] = []
        records: list[str] = []
        begins: list[int] = []
        faults: dict[int, Fault] = {}
        offset, number = start.offset, start.line
        while len(rows) < n_rows:
            if not waiting and (line := next(lines, None)) is not None:
                waiting.append(line)
            if not waiting:
                break
            taken = self._one(waiting, lines)
            whole = b"".join(taken)
            begins_at = number
            offset, number = offset + len(whole), number + len(taken)
            if not whole.strip(self._blank):
                continue
            record, is_utf8 = _record(taken)
            cells, reason = self._cells(record)
            code = "cells"
            if not is_utf8:
                code, reason = "not_utf8", "must be UTF-8"
            elif not reason and len(cells) != n_cells:
                reason = f"must have {n_cells} cells as the header has, not {len(cells)}"
            if reason:
                faults[len(rows)] = Fault(begins_at, "", code, reason)
            rows.append([*cells, *("",) * n_cells][:n_cells])
            records.append(record)
            begins.append(begins_at)
        columns = list(zip(*rows, strict=True)) if rows else [()] * n_cells
        return Chunk(start, Position(start.row + len(rows), offset, number), begins, columns, records, faults)

    def _one(self, waiting: deque[bytes], lines: Iterator[bytes]) -> list[bytes]:
        """The lines of the next row: where the first is none by itself, as many as close its quotation marks.

        Only if that makes one row of as many cells as it must have; else the first alone, and the others are rows.
        """
        taken = [waiting.popleft()]
        n_marks = taken[0].count(b'"')
        if n_marks % 2 == 0 or self._is_row(taken):
            return taken
        while n_marks % 2 and len(taken) < _MOST_LINES_PER_ROW:
            line = waiting.popleft() if waiting else next(lines, None)
            if line is None:
                break
            taken.append(line)
            n_marks += line.count(b'"')
        if self._is_row(taken):
            return taken
        waiting.extendleft(reversed(taken[1:]))
        return taken[:1]

    def _is_row(self, lines: Sequence[bytes]) -> bool:
        cells, reason = self._cells(_record(lines)[0])
        return not reason and len(cells) == len(self.layout.headers)

    def _cells(self, record: str) -> tuple[Sequence[str], str]:
        try:
            rows = list(csv.reader(io.StringIO(record, newline=""), delimiter=self.delimiter, strict=True))
        except csv.Error:
            rows = []
        if len(rows) == 1:
            return rows[0], ""
        return [record], _NOT_CLOSED if record.count('"') % 2 else "is not a row of CSV"


def _record(lines: Sequence[bytes]) -> tuple[str, bool]:
    """The text of a row without its end, and whether it is UTF-8."""
    record, is_utf8 = decoded(b"".join(lines))
    return record.rstrip("\r\n") if len(lines) == 1 else record.removesuffix("\n").removesuffix("\r"), is_utf8


class CsvResult:
    """Writes a result as CSV: a file's columns as they stand there, and ours behind them."""

    def __init__(
        self, layout: Layout, *, delimiter: str = ",", end_of_line: str = "\n", has_mark: bool = False
    ) -> None:
        self._layout = layout
        self._delimiter = delimiter
        self._end = end_of_line
        self._has_mark = has_mark
        self._quoted = re.compile(f'[{re.escape(delimiter)}"\r\n]')
        self._harmless = partial(harmless, decimal_comma=True) if layout.decimal_comma else harmless
        self._as_they_stand = False

    @classmethod
    def like(cls, source: CsvSource) -> CsvResult:
        """Written as a file of that kind, whose rows are taken over as they stand there."""
        result = cls(
            source.layout, delimiter=source.delimiter, end_of_line=source.end_of_line, has_mark=source.has_mark
        )
        result._as_they_stand = source.layout.keeps_all
        return result

    def header(self) -> bytes:
        """The first row."""
        names = [self._layout.headers[position] for position in self._layout.kept]
        mark = "\ufeff" if self._has_mark else ""
        return f"{mark}{self._row([*names, *OURS])}{self._end}".encode()

    def rows(self, scored: Scored) -> list[str]:
        """Each row of a chunk, in its order, with its end of line. Bytes that are not UTF-8 are surrogates in it."""
        ours = self._ours(scored.checked, scored.decided)
        theirs = self._theirs(scored.chunk, scored.checked)
        return list(map("".join, zip(theirs, ours, repeat(self._end), strict=False)))

    def _ours(self, checked: Checked, decided: Decided) -> Sequence[str]:
        parting, cell = self._delimiter, self._cell
        added = [
            f"{parting}{probability}{parting}{decision.tier}{parting}{value}{parting}{lower}{parting}{upper}{parting}"
            f"{cell(decision.recommendation)}{parting}{decision.confidence}{parting}{decision.value_at_risk_usd}{parting}"
            for probability, value, lower, upper, decision in zip(
                decided.probabilities,
                decided.values_usd,
                decided.lower_usd,
                decided.upper_usd,
                decided.decisions,
                strict=True,
            )
        ]
        if not checked.faults:
            return added
        every = [""] * checked.n_rows
        for row, text in zip(checked.good, added, strict=True):
            every[row] = text
        for row, faults in checked.faults.items():
            every[row] = parting + self._row([*_NOTHING[1:], said(faults)])
        return every

    def _theirs(self, chunk: Chunk, checked: Checked) -> Sequence[str]:
        kept = [chunk.columns[position] for position in self._layout.kept]
        if not self._as_they_stand:
            columns = [list(map(self._harmless, map(text_of, values))) for values in kept]
            return list(map(self._row, zip(*columns, strict=True)))
        changed = self._may_be_formulas(chunk) | checked.faults.keys()
        if not changed:
            return chunk.records
        records = list(chunk.records)
        for row in changed:
            records[row] = self._row(self._harmless(values[row]) for values in kept)
        return records

    def _may_be_formulas(self, chunk: Chunk) -> set[int]:
        """Rows with such a cell in a column other than those that hold numbers or known words in any valid row."""
        known = {position for column, position in self._layout.positions.items() if column != CUSTOMER_ID}
        others = [values for position, values in enumerate(chunk.columns) if position not in known]
        return {
            row
            for values in others
            if FORMULAS.search("\n".join(values))
            for row, value in enumerate(values)
            if value != self._harmless(value)
        }

    def _row(self, cells: Iterable[str]) -> str:
        return self._delimiter.join(map(self._cell, cells))

    def _cell(self, text: str) -> str:
        if not self._quoted.search(text):
            return text
        return '"' + text.replace('"', '""') + '"'
