"""NDJSON: one JSON object a line. A line of the result is the line of the file, with our members at its end."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, BinaryIO, ClassVar, Final

from pydantic_core import from_json, to_json

from telelink_shared.bulk.cells import said
from telelink_shared.bulk.lines import decoded, lines_of
from telelink_shared.bulk.table import (
    ABSENT,
    FIELDS,
    OURS,
    BadFile,
    Chunk,
    Fault,
    Format,
    Layout,
    Position,
    Scored,
    layout_of,
)
from telelink_shared.headers import canonical_name

_LOOKED_AT: Final = 1_000


class NdjsonSource:
    """See `Source`. Its columns are the members of the first thousand objects.

    A member that first comes later is no column; where it is a field of ours, it is a fault of its row.

    Args:
        file: open at its beginning, and able to go back there.
    """

    format: ClassVar[Format] = "ndjson"
    is_text: ClassVar[bool] = False

    def __init__(self, file: BinaryIO, mapping: Mapping[str, str] | None = None) -> None:
        self._file = file
        names: dict[str, None] = {}
        for line in islice(lines_of(file), _LOOKED_AT):
            members = _parsed(line.removeprefix(codecs.BOM_UTF8))
            names.update(dict.fromkeys(members if isinstance(members, dict) else ()))
        if not names:
            raise BadFile("no_objects", "The file does not begin with lines of a JSON object each.")
        self.layout = layout_of(list(names), mapping)
        self._known = frozenset(names)

    def chunks(self, n_rows: int, start: Position | None = None) -> Iterator[Chunk]:
        """See `Source.chunks`."""
        start = start or Position()
        self._file.seek(start.offset)
        lines = lines_of(self._file)
        while True:
            chunk = self._chunk(lines, n_rows, start)
            if chunk.n_rows:
                yield chunk
            start = chunk.end
            if chunk.n_rows < n_rows:
                return

    def _has_late_field(self, members: Mapping[str, Any]) -> bool:
        names = (canonical_name(name) for name in members.keys() - self._known)
        return any(name in FIELDS and name not in self.layout.positions for name in names)

    def _chunk(self, lines: Iterator[bytes], n_rows: int, start: Position) -> Chunk:
        records: list[str] = []
        objects: list[Mapping[str, Any]] = []
        begins: list[int] = []
        faults: dict[int, Fault] = {}
        offset, number = start.offset, start.line
        while len(records) < n_rows and (line := next(lines, None)) is not None:
            begins_at, offset, number = number, offset + len(line), number + 1
            if not line.strip():
                continue
            record, is_utf8 = decoded(line.removeprefix(codecs.BOM_UTF8) if begins_at == 1 else line)
            members = _parsed(line.removeprefix(codecs.BOM_UTF8)) if is_utf8 else None
            if not isinstance(members, dict):
                code = "json_invalid" if members is None else "model_type"
                reason = "must be a JSON object" if is_utf8 else "must be UTF-8"
                faults[len(records)] = Fault(begins_at, "", code if is_utf8 else "not_utf8", reason)
                members = {}
            elif line.count(b":") != len(members) and _has_name_twice(line.removeprefix(codecs.BOM_UTF8)):
                faults[len(records)] = Fault(begins_at, "", "duplicate_name", "must not have a name twice")
            elif not members.keys() <= self._known and self._has_late_field(members):
                reason = f"has a field that none of the first {_LOOKED_AT:,} objects has"
                faults[len(records)] = Fault(begins_at, "", "late_field", reason)
            records.append(record.strip())
            objects.append(members)
            begins.append(begins_at)
        columns = [[members.get(header, ABSENT) for members in objects] for header in self.layout.headers]
        return Chunk(start, Position(start.row + len(records), offset, number), begins, columns, records, faults)


def _has_name_twice(line: bytes) -> bool:
    """Of an object itself; what may be within its values is no field."""
    n_members = 0

    def count(members: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal n_members
        n_members = len(members)  # the object itself comes last
        return dict(members)

    # Numbers are of no interest here, and turning thousands of digits into one takes long or fails.
    return len(json.loads(line, object_pairs_hook=count, parse_int=len, parse_float=len)) != n_members


def _parsed(line: bytes) -> Any:
    """The value; None for what is not JSON, and for null."""
    try:
        return from_json(line)
    except ValueError:
        return None


class NdjsonResult:
    """Writes a result as NDJSON."""

    def __init__(self, layout: Layout, *, of_ndjson: bool = False) -> None:
        self._layout = layout
        self._names = [to_json(name) for name in layout.kept_names]
        # Members behind the first thousand objects are in the line alone: it goes on as it is.
        self._as_they_stand = of_ndjson and layout.keeps_all

    def header(self) -> bytes:
        """There is none."""
        return b""

    def rows(self, scored: Scored) -> list[str]:
        """Each row of a chunk, in its order, with its end of line."""
        chunk, checked, decided = scored
        ours = [b""] * checked.n_rows
        figures = zip(
            checked.good,
            decided.probabilities,
            decided.values_usd,
            decided.lower_usd,
            decided.upper_usd,
            decided.decisions,
            strict=True,
        )
        for row, probability, value, lower, upper, decision in figures:
            ours[row] = _members(
                (
                    probability,
                    decision.tier,
                    value,
                    lower,
                    upper,
                    decision.recommendation,
                    decision.confidence,
                    decision.value_at_risk_usd,
                    None,
                )
            )
        for row, faults in checked.faults.items():
            ours[row] = _members((*(None,) * (len(OURS) - 1), said(faults)))
        return [
            (b"%b,%b}\n" % (original, added) if original != b"{" else b"{%b}\n" % added).decode()
            for original, added in zip(self._theirs(chunk), ours, strict=True)
        ]

    def _theirs(self, chunk: Chunk) -> list[bytes]:
        """Each row's object, still open."""
        if self._as_they_stand:
            return [
                b'{"line":' + to_json(record.encode("utf-8", "replace").decode())
                if row in chunk.faults
                else record[:-1].rstrip().encode()
                for row, record in enumerate(chunk.records)
            ]
        columns = [chunk.columns[position] for position in self._layout.kept]
        return [
            b"{"
            + b",".join(
                b"%b:%b" % (name, _json(value))
                for name, value in zip(self._names, values, strict=True)
                if value is not ABSENT
            )
            for values in zip(*columns, strict=True)
        ]


_OURS: Final = [to_json(name) for name in OURS]


def _members(values: Sequence[Any]) -> bytes:
    return b",".join(b"%b:%b" % (name, to_json(value)) for name, value in zip(_OURS, values, strict=True))


def _json(value: Any) -> bytes:
    if isinstance(value, str):
        value = value.encode("utf-8", "replace").decode()
    return to_json(value, bytes_mode="base64")
