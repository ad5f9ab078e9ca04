"""Parquet: what is read keeps its types, and what is written depends on the rows alone."""

import csv
import io

import pytest
from arro3.core import Array, DataType, Field, RecordBatch, Schema
from arro3.io import read_parquet, write_parquet

from support.bulk import faults_of, result_of
from telelink_shared.bulk.files import open_source
from telelink_shared.bulk.parquet_file import ParquetResult
from telelink_shared.bulk.table import BadFile, Layout
from telelink_shared.customer import EXAMPLE


def test_a_parquet_result_is_the_same_however_its_rows_come_in():
    schema = Schema([Field("name", DataType.string())])
    result = ParquetResult(Layout(("name",), (0,), {}), schema)
    n_rows = 12_345
    columns = [
        Array([f"{row % 977}" for row in range(n_rows)], field.type)
        if field.type == DataType.string()
        else Array([float(row) for row in range(n_rows)], field.type)
        for field in result.schema
    ]
    whole = RecordBatch.from_arrays(columns, schema=result.schema)
    written = set()
    for size in (1_000, 2_500, 5_000, 7_777, n_rows):
        out = io.BytesIO()
        result.write_batches([whole.slice(at, min(size, n_rows - at)) for at in range(0, n_rows, size)], out)
        written.add(out.getvalue())
        assert read_parquet(out).read_all().num_rows == n_rows
    assert len(written) == 1


def test_a_parquet_file_that_repeats_a_large_value_is_refused():
    customer = {**EXAMPLE, "note": "x" * 20_000}
    arrays = [
        Array([value] * 2_500, DataType.string() if isinstance(value, str) else DataType.int64())
        for value in customer.values()
    ]
    out = io.BytesIO()
    write_parquet(RecordBatch.from_arrays(arrays, names=list(customer)), out, compression="snappy")
    assert len(out.getvalue()) < 100_000
    with pytest.raises(BadFile) as raised:
        list(open_source(out, "parquet").chunks(2_500))
    assert raised.value.code == "rows_too_large"


def test_columns_of_a_parquet_file_keep_their_types():
    names = list(EXAMPLE)
    arrays = [
        Array([value] * 3, DataType.string() if isinstance(value, str) else DataType.int64())
        for value in EXAMPLE.values()
    ]
    arrays[0] = Array([5, None, 10_001], DataType.int64())
    names.append("since")
    arrays.append(Array([1, 2, 3], DataType.int32()).cast(DataType.date32()))
    out = io.BytesIO()
    write_parquet(RecordBatch.from_arrays(arrays, names=names), out)
    assert [fault[:2] for fault in faults_of(out.getvalue(), "parquet")] == [(2, "accountLength"), (3, "accountLength")]
    table = read_parquet(io.BytesIO(result_of(out.getvalue(), "parquet"))).read_all()
    assert table.schema.field("since").type == DataType.date32()
    read = list(csv.DictReader(io.StringIO(result_of(out.getvalue(), "parquet", into="csv").decode())))
    assert [row["since"] for row in read] == ["1970-01-02", "1970-01-03", "1970-01-04"]
