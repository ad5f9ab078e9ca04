"""Whole files: a row in bulk is a customer alone, whatever the file looks like."""

import csv
import io
import json
import math

import pytest
from arro3.core import Array, DataType, RecordBatch
from arro3.io import read_parquet, write_parquet
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from support.bulk import POLICY, csv_of, faults_of, result_of, scored_of
from telelink_shared.bulk.deciding import decide_all
from telelink_shared.bulk.files import open_source
from telelink_shared.bulk.table import CAMEL, OURS, BadFile
from telelink_shared.customer import COLUMNS, EXAMPLE, Customer, row_of
from telelink_shared.decision import decide
from telelink_shared.problem import InvalidInput
from telelink_shared.web.json_body import Shape, validate_json

_SHAPE = Shape(TypeAdapter(Customer), lambda customer: len(customer.model_fields_set), max_values=1_000)


def _rows(**changes):
    return dict(EXAMPLE) | changes


def _single(customer):
    """What the API says of one customer: its row, or its errors."""
    try:
        return row_of(validate_json(_SHAPE, json.dumps(customer).encode()))
    except InvalidInput as problem:
        return [(error.pointer.removeprefix("/"), error.code, error.message) for error in problem.errors]


def _in_bulk(checked):
    """The same of each row of a chunk."""
    found = {}
    for place, row in enumerate(checked.good):
        known = {**checked.numbers, **checked.words}
        values = [known[column][place] if column in known else None for column in COLUMNS]
        found[row] = tuple(None if isinstance(value, float) and math.isnan(value) else value for value in values)
    for row, faults in checked.faults.items():
        found[row] = [fault[1:] for fault in faults]
    return [found[row] for row in range(checked.n_rows)]


_numbers = st.one_of(
    st.integers(-2, 10_002),
    st.sampled_from([0, 1.0, 128.0, 2.5, 10_000, 10_000.5, 44_640, 44_641, -0.0, 1e300, 128.0000000001, 10**300]),
    st.floats(0, 50_000, allow_nan=False),
)
_anything = st.one_of(
    _numbers, st.booleans(), st.none(), st.just([]), st.just({}), st.sampled_from(["", "12", "NaN", "yes", "x", "CA"])
)
_values = {
    "state": st.sampled_from(["CA", "oh", " NJ ", "XX", "", "=1"]),
    "areaCode": st.sampled_from(["415", 408, 510.0, "area_code_415", 999, True]),
    "internationalPlan": st.sampled_from(["yes", "No", "TRUE", "false.", True, False, "1", 1, "maybe"]),
    "voiceMailPlan": st.sampled_from(["yes", "no"]),
    "customerId": st.sampled_from(["a", "ü" * 64, "x" * 65, "", "tab\there", 7, True, None, "line\nbreak"]),
}
_field = {
    name: st.one_of(_values.get(name, _numbers), _anything) if name not in ("state",) else _values[name] | _anything
    for name in CAMEL.values()
}
_customers = st.fixed_dictionaries({name: st.just(value) for name, value in EXAMPLE.items()}, optional={}).flatmap(
    lambda usual: st.dictionaries(st.sampled_from(sorted(CAMEL.values())), st.none(), max_size=4).flatmap(
        lambda picked: st.fixed_dictionaries({name: _field[name] for name in picked}).map(
            lambda changes: usual | changes
        )
    )
)


@given(st.lists(_customers, min_size=1, max_size=6))
@settings(deadline=None, max_examples=100)
def test_a_json_object_of_a_file_is_checked_as_a_single_customer_is(customers):
    data = "\n".join(map(json.dumps, customers)).encode()
    found = [row for _, each in scored_of(data, "ndjson", n_rows=4) for row in _in_bulk(each.checked)]
    assert found == [_single(customer) for customer in customers]


def _as_json(name, text):
    """What a cell of text stands for: a number where numbers are wanted and it is one, nothing where it is empty."""
    if name in _values:
        return text or None
    try:
        return json.loads(text)
    except ValueError:
        return text or None


_cells = st.sampled_from(
    [
        "",
        "0",
        "1",
        "128",
        "128.0",
        "2.5",
        "10000",
        "10001",
        "44640.5",
        "-1",
        "1e3",
        "yes",
        "No",
        "CA",
        "415",
        "x",
    ]
)


@pytest.mark.parametrize(("delimiter", "point"), [(",", "."), (";", "."), (";", ",")])
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(sorted(CAMEL.values())), _cells, max_size=4), min_size=1, max_size=6)
)
@settings(deadline=None, max_examples=100)
def test_a_row_of_csv_is_checked_as_the_customer_that_it_says(delimiter, point, rows):
    full = [{name: str(value) for name, value in EXAMPLE.items()} | row for row in rows]
    data = csv_of(full, delimiter).replace(b".", point.encode())
    found = [row for _, each in scored_of(data, n_rows=4) for row in _in_bulk(each.checked)]
    said = [{name: _as_json(name, text) for name, text in row.items()} for row in full]
    assert found == [_single({name: value for name, value in row.items() if value is not None}) for row in said]


@pytest.mark.parametrize("text", ["1_0", "١٢", "inf", "nan", "0x10", "1,5", "1 0"])
def test_what_python_takes_for_a_number_and_json_does_not_is_refused(text):
    (fault,) = faults_of(csv_of([_rows(), _rows(totalDayMinutes=text), _rows()]))
    assert fault == (3, "totalDayMinutes", "float_type", "must be a number")


@pytest.mark.parametrize("text", ["1.234,5", "1,234.5", "1,2,3", ",", "-,", "1 234,5", "1_0,5"])
def test_between_semicolons_a_number_has_no_more_than_a_decimal_comma(text):
    (fault,) = faults_of(csv_of([_rows(), _rows(totalDayMinutes=text), _rows(totalDayMinutes="180,5")], ";"))
    assert fault == (3, "totalDayMinutes", "float_type", "must be a number")


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_a_comma_is_a_decimal_point_nowhere_else(delimiter):
    assert [fault.line for fault in faults_of(csv_of([_rows(), _rows(totalDayMinutes="180,5")], delimiter))] == [3]


def test_a_file_with_decimal_commas_gets_the_answers_of_the_same_with_points_behind_its_own_text():
    usage = [0.5, 180.25, 1e-3, ".5", "7.", 12, "", 99.75, 50_000.5]
    rows = [_rows(note=f"a{number}", totalDayMinutes=minutes) for number, minutes in enumerate(usage)]
    rows[7]["note"] = '"quoted"; and with\nan end of line'
    points = csv_of(rows, ";")
    commas = points.replace(b".", b",")
    told_of_points, told = (
        list(csv.DictReader(io.StringIO(result_of(data).decode(), newline=""), delimiter=";"))
        for data in (points, commas)
    )
    assert [row["totalDayMinutes"] for row in told] == [str(minutes).replace(".", ",") for minutes in usage]
    assert [[row[name] for name in OURS] for row in told] == [[row[name] for name in OURS] for row in told_of_points]
    assert [row["churn_probability"] for row in told] == ["0.0128"] * 8 + [""]
    assert [fault[:2] for fault in faults_of(commas)] == [(11, "totalDayMinutes")]
    numbers = [number for _, each in scored_of(commas) for number in each.checked.numbers["total_day_minutes"]]
    assert str(numbers) == "[0.5, 180.25, 0.001, 0.5, 7.0, 12.0, nan, 99.75]"


@pytest.mark.parametrize(("delimiter", "point"), [(",", "."), (";", "."), (";", ",")])
def test_a_column_with_more_spellings_than_are_remembered_is_still_checked(delimiter, point):
    rows = [_rows(totalDayMinutes=str(number / 1_000).replace(".", point)) for number in range(20_500)]
    rows[20_400]["totalDayMinutes"] = "nan"
    rows[20_450]["totalDayMinutes"] = "1.234,5"
    scored = [each for _, each in scored_of(csv_of(rows, delimiter), n_rows=1_000)]
    faults = [fault[:2] for each in scored for found in each.checked.faults.values() for fault in found]
    assert faults == [(20_402, "totalDayMinutes"), (20_452, "totalDayMinutes")]
    numbers = [number for each in scored for number in each.checked.numbers["total_day_minutes"]]
    assert numbers == [number / 1_000 for number in range(20_500) if number not in (20_400, 20_450)]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1e7))
def test_it_is_decided_as_for_a_single_customer(risk, lower, upper, value):
    decided = decide_all(
        {
            "churn_probability": [risk],
            "churn_lower": [lower],
            "churn_upper": [upper],
            "estimated_clv": [value],
            "clv_lower": [value],
            "clv_upper": [value],
        },
        POLICY,
    )
    alone = decide(round(risk, 6), (round(lower, 6), round(upper, 6)), round(value, 2), POLICY)
    assert decided.decisions == [alone]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_result_is_written_as_its_file_was(delimiter, end, mark):
    data = csv_of([_rows(note=f"n{number}") for number in range(7)], delimiter, end, mark)
    result = result_of(data)
    originals, lines = data.decode().split(end), result.decode().split(end)
    assert len(lines) == len(originals)
    for original, line in zip(originals[:-1], lines[:-1], strict=True):
        assert line.startswith(original + delimiter)
    assert lines[0].split(delimiter)[-len(OURS) :] == list(OURS)


def test_quoted_cells_keep_their_line_breaks_and_delimiters():
    rows = [_rows(note="a"), _rows(note='one\ntwo, "three"'), _rows(note="b")]
    read = list(csv.DictReader(io.StringIO(result_of(csv_of(rows)).decode(), newline="")))
    assert [row["note"] for row in read] == [row["note"] for row in rows]
    assert [fault.line for fault in faults_of(csv_of([*rows, _rows(state="XX")]))] == [6]


def test_a_quotation_mark_that_is_never_closed_costs_its_own_row_alone():
    data = csv_of([_rows(), _rows(), _rows()]).decode().splitlines(keepends=True)
    data[2] = '"' + data[2]
    assert [fault[:3] for fault in faults_of("".join(data).encode())] == [(3, "", "cells")]
    assert result_of("".join(data).encode()).count(b"MAINTAIN") == 2


@pytest.mark.parametrize("is_all_quoted", [False, True])
@pytest.mark.parametrize("n_rows", [3, 100])
def test_two_quotation_marks_that_are_never_closed_cost_their_own_rows_and_none_between_them(is_all_quoted, n_rows):
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL if is_all_quoted else csv.QUOTE_MINIMAL)
    writer.writerow(["name", *EXAMPLE])
    writer.writerows([f"n{number}", *EXAMPLE.values()] for number in range(60))
    lines = out.getvalue().splitlines(keepends=True)
    for at in (10, 50):
        lines[at] = lines[at].replace(f'"n{at - 1}"' if is_all_quoted else f"n{at - 1}", '"Smith')
    data = "".join(lines).encode()
    assert [(fault.line, fault.code) for fault in faults_of(data, n_rows=n_rows)] == [(11, "cells"), (51, "cells")]
    assert result_of(data, n_rows=n_rows).count(b"MAINTAIN") == 58


def test_a_quotation_mark_within_a_cell_is_a_character_like_any_other():
    data = (
        csv_of([_rows(note=f"n{number}") for number in range(9)]).replace(b"n2", b'5" pipe').replace(b"n6", b'7" pipe')
    )
    assert not faults_of(data)
    rows = list(csv.DictReader(io.StringIO(result_of(data).decode(), newline="")))
    assert [row["note"] for row in rows if "pipe" in row["note"]] == ['5" pipe', '7" pipe']
    assert all(row["churn_risk"] for row in rows)


@pytest.mark.parametrize("note", ["x" * 200_000, "x" * 150_000 + '"'])
def test_a_cell_may_have_as_much_as_a_line(note):
    data = csv_of([_rows(), _rows(note=note)])
    assert not faults_of(data)
    csv_of_it = result_of(data).decode()
    assert [len(row["note"]) for row in csv.DictReader(io.StringIO(csv_of_it, newline=""))] == [0, len(note)]


def test_lines_that_end_with_cr_alone_are_refused_by_that_name():
    with pytest.raises(BadFile) as raised:
        open_source(io.BytesIO(csv_of([_rows()] * 5, end="\r")), "csv")
    assert raised.value.code == "line_ends"


@pytest.mark.parametrize("note", ["", 'a "quoted" word'])
def test_a_line_of_delimiters_is_a_row_without_values_whatever_is_near_it(note):
    data = csv_of([_rows(note=note)] * 2, "\t").splitlines(keepends=True)
    data.insert(2, b"\t" * len(EXAMPLE) + b"\n")
    assert {fault.line for fault in faults_of(b"".join(data))} == {3}


def test_blank_lines_may_come_before_the_header():
    data = b"  \n\n" + csv_of([_rows(), _rows(state="XX")])
    assert [fault.line for fault in faults_of(data)] == [5]


def test_a_field_that_comes_only_behind_the_first_thousand_objects_is_a_fault_of_its_row():
    lines = [json.dumps(EXAMPLE)] * 1_200 + [
        json.dumps(_rows(Total_Day_Minutes=99, other=1)),
        json.dumps(_rows(other=1)),
    ]
    faults = faults_of("\n".join(lines).encode(), "ndjson", n_rows=500)
    assert [(fault.line, fault.code) for fault in faults] == [(1_201, "late_field")]


def test_a_name_that_an_object_has_twice_is_a_fault_of_its_row():
    twice = json.dumps(EXAMPLE).replace('"state"', '"state": "XX", "state"')
    nested = json.dumps(_rows(note={"a": {"b": ":"}}, time="12:30"))
    faults = faults_of("\n".join([nested, twice, nested]).encode(), "ndjson")
    assert [(fault.line, fault.code) for fault in faults] == [(2, "duplicate_name")]


def test_a_row_of_another_length_or_encoding_costs_itself_alone():
    data = csv_of([_rows(), _rows(), _rows(), _rows()]).splitlines(keepends=True)
    data[2] = b"1," + data[2]
    data[3] = data[3].replace(b"CA", b"\xff\xfe")
    assert [(fault.line, fault.code) for fault in faults_of(b"".join(data))] == [(3, "cells"), (4, "not_utf8")]
    assert b"\xff\xfe" in result_of(b"".join(data))


def test_empty_lines_are_no_rows():
    data = csv_of([_rows()] * 5).replace(b"\n", b"\n\n")
    assert sum(each.checked.n_rows for _, each in scored_of(data)) == 5
    assert [each.chunk.n_rows for _, each in scored_of(data)] == [3, 2]


@pytest.mark.parametrize("format", ["csv", "ndjson", "parquet"])
def test_reading_goes_on_where_it_was(format):
    rows = [_rows(accountLength=number, note='x"\n' if number % 3 else "") for number in range(11)]
    data = csv_of(rows) if format == "csv" else "\n\n".join(map(json.dumps, rows)).encode()
    if format == "parquet":
        data = result_of(csv_of(rows), into="parquet")
    source = open_source(io.BytesIO(data), format)
    whole = list(source.chunks(4))
    assert [chunk.n_rows for chunk in whole] == [4, 4, 3]
    again = [next(source.chunks(4, start=chunk.end)) for chunk in whole[:-1]]
    for earlier, later in zip(whole[1:], again, strict=True):
        assert (earlier.start, earlier.end, list(earlier.lines)) == (later.start, later.end, list(later.lines))
        assert list(map(list, earlier.columns)) == list(map(list, later.columns))


@pytest.mark.parametrize(
    "spelling", ["Total Day Calls", "total_day_calls", "totalDayCalls", "Day Calls", "TotalDayCalls"]
)
def test_known_spellings_of_headers_are_understood(spelling):
    rows = [{spelling if name == "totalDayCalls" else name: value for name, value in EXAMPLE.items()}]
    assert not faults_of(csv_of(rows))


def test_an_unknown_header_is_mapped_and_wins_over_one_that_is_known():
    rows = [{"Their Calls" if name == "totalDayCalls" else name: value for name, value in EXAMPLE.items()}]
    with pytest.raises(BadFile, match="totalDayCalls"):
        open_source(io.BytesIO(csv_of(rows)), "csv")
    for row in rows:
        row["Total Day Calls"] = "not a number"
    assert not faults_of(csv_of(rows), mapping={"Their Calls": "totalDayCalls"})


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"\xef\xbb\xbf\n\n", "empty"),
        ("x,y\n1,2\n".encode("utf-16"), "not_utf8"),
        (b"state,state\n", "column_twice"),
        (b"state\nCA\n", "column_missing"),
        (b"x" * 300_000, "line_too_long"),
    ],
)
def test_a_file_that_cannot_be_scored_says_why(data, code):
    with pytest.raises(BadFile) as raised:
        open_source(io.BytesIO(data), "csv")
    assert raised.value.code == code


@pytest.mark.parametrize("format", ["ndjson", "parquet"])
def test_a_file_of_another_kind_says_so(format):
    with pytest.raises(BadFile):
        open_source(io.BytesIO(b"accountLength,state\n"), format)


@pytest.mark.parametrize("text", ["=cmd()", "+1 555 0100", "-x", "@sum", "\tx"])
def test_a_cell_that_a_spreadsheet_would_run_is_made_harmless(text):
    result = result_of(csv_of([_rows(note="fine"), _rows(note=text), _rows(note="-12.5")]))
    assert [row["note"] for row in csv.DictReader(io.StringIO(result.decode()))] == ["fine", f"'{text}", "-12.5"]


@pytest.mark.parametrize(("delimiter", "expected"), [(",", "'-12,5"), (";", "-12,5")])
def test_a_negative_number_is_no_formula_where_it_is_one(delimiter, expected):
    result = result_of(csv_of([_rows(note="-12,5"), _rows(note="=1,5"), _rows(note="-1,2,3", state="XX")], delimiter))
    read = csv.DictReader(io.StringIO(result.decode()), delimiter=delimiter)
    assert [row["note"] for row in read] == [expected, "'=1,5", "'-1,2,3"]


def test_columns_of_an_earlier_result_give_way_to_the_new_ones():
    once = result_of(csv_of([_rows(note="a"), _rows(note="b")]))
    assert result_of(once) == once


def test_every_kind_of_result_says_the_same():
    data = csv_of([_rows(note="a"), _rows(state="XX", note="b"), _rows(accountLength=4_000, note="")])
    from_csv = list(csv.DictReader(io.StringIO(result_of(data).decode())))
    from_json = [json.loads(line) for line in result_of(data, into="ndjson").splitlines()]
    table = read_parquet(io.BytesIO(result_of(data, into="parquet"))).read_all()
    from_parquet = [
        dict(zip(table.column_names, row, strict=True))
        for row in zip(*(table.column(name).to_pylist() for name in table.column_names), strict=True)
    ]
    for row, members, values in zip(from_csv, from_json, from_parquet, strict=True):
        assert list(row) == list(members) == list(values)
        for name in OURS:
            assert members[name] == values[name]
            assert row[name] == ("" if members[name] is None else str(members[name]))
        assert row["note"] == members["note"] == values["note"]
    assert from_csv[1]["error"] == "state must be the two-letter code of a US state or DC"
    assert from_csv[1]["churn_risk"] == ""


def test_an_object_is_written_again_as_it_stands_there():
    line = b'{ "nested": {"a": [1, 2.50]}, ' + json.dumps(EXAMPLE).encode()[1:]
    result = result_of(line + b"\n" + b"not json\n" + line, "ndjson")
    first, second, third = result.splitlines()
    assert first.startswith(line[:-1])
    assert json.loads(second)["error"] == "must be a JSON object"
    assert first == third


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_file_with_very_many_columns_is_refused(format):
    rows = [{f"column {number}": "" for number in range(1_001)}]
    data = csv_of(rows)
    if format == "parquet":
        out = io.BytesIO()
        names = list(rows[0])
        write_parquet(RecordBatch.from_arrays([Array([""], DataType.string())] * len(names), names=names), out)
        data = out.getvalue()
    with pytest.raises(BadFile) as raised:
        open_source(io.BytesIO(data), format)
    assert raised.value.code == "too_many_columns"
