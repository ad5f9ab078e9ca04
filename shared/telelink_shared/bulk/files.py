"""Any of the known kinds of file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

from telelink_shared.bulk.csv_file import CsvResult, CsvSource
from telelink_shared.bulk.ndjson_file import NdjsonResult, NdjsonSource
from telelink_shared.bulk.table import Format, Scored, Source


def open_source(file: BinaryIO, format: Format, mapping: Mapping[str, str] | None = None) -> Source:
    """A file of customers.

    Args:
        file: open at its beginning, and able to go to any place.
        mapping: the field by header, for headers that are not known.

    Raises:
        BadFile: it cannot be scored.
    """
    if format == "csv":
        return CsvSource(file, mapping)
    if format == "ndjson":
        return NdjsonSource(file, mapping)
    # Imported by those who use it: it takes 9 MB of memory.
    from telelink_shared.bulk.parquet_file import ParquetSource

    return ParquetSource(file, mapping)


def text_result(source: Source, format: Format) -> CsvResult | NdjsonResult:
    """How a result of this file is written as CSV or NDJSON, row by row."""
    if format == "csv":
        return CsvResult.like(source) if isinstance(source, CsvSource) else CsvResult(source.layout)
    return NdjsonResult(source.layout, of_ndjson=source.format == "ndjson")


def write_result(source: Source, scored: Iterable[Scored], format: Format, file: Any) -> None:
    """The whole result, chunk by chunk as they come in.

    Args:
        file: has `write`, and need not be able to go back.
    """
    if format == "parquet":
        from telelink_shared.bulk.parquet_file import ParquetResult, ParquetSource

        schema = source.schema if isinstance(source, ParquetSource) else None
        ParquetResult(source.layout, schema).write(scored, file)
        return
    result = text_result(source, format)
    file.write(result.header())
    for each in scored:
        file.write("".join(result.rows(each)).encode(errors="surrogateescape"))
