"""Files scored without a server: the same answers as for single customers, however the file is parted."""

import csv
import json
import os
import shutil

import pytest
from arro3.io import read_parquet
from hypothesis import given, settings
from hypothesis import strategies as st

import telelink_score.parts
from support.builders import CHURN_MODELS, CLV_MODELS, a_customer, raw_columns, some_customers
from telelink_churn.definition import CHURN
from telelink_clv.definition import CLV
from telelink_score.cli import main
from telelink_score.parts import open_parted
from telelink_score.scoring import Task, score_file
from telelink_shared import artifact
from telelink_shared.bulk.table import OURS, BadFile
from telelink_shared.customer import COLUMNS
from telelink_shared.decision import Policy, decide, with_value_limits
from telelink_shared.serving.model import load_model


def write_csv(path, customers, *, header=None, end="\n"):
    names = header or list(dict.fromkeys(name for customer in customers for name in customer))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator=end)
        writer.writerow(names)
        writer.writerows([customer.get(name, "") for name in names] for customer in customers)
    return path


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def a_task(path, into="csv", **changes):
    values = {
        "path": path,
        "format": telelink_score.parts.format_of(path),
        "into": into,
        "mapping": {},
        "churn_models": CHURN_MODELS,
        "clv_models": CLV_MODELS,
        "policy": Policy(),
    }
    return Task(**values | changes)


@pytest.fixture(scope="module")
def models():
    return load_model(CHURN, CHURN_MODELS), load_model(CLV, CLV_MODELS)


@pytest.fixture(params=[300, 10**6], ids=["small parts", "one part"])
def part_bytes(request, monkeypatch):
    monkeypatch.setattr(telelink_score.parts, "_BYTES_PER_PART", request.param)
    monkeypatch.setattr(telelink_score.parts, "ROWS_PER_CHUNK", 3 if request.param == 300 else 5_000)


def alone(customer, models):
    """What a single customer is told, as text."""
    churn, clv = (model.infer(raw_columns([customer]), n_rows=1) for model in models)
    names = ("churn_probability", "churn_lower", "churn_upper")
    probability, lower, upper = (round(float(churn[name][0]), 6) for name in names)
    value, least, most = (round(float(clv[name][0]), 2) for name in ("estimated_clv", "clv_lower", "clv_upper"))
    policy = with_value_limits(Policy(), models[1].manifest.quantiles["estimated_clv"])
    decision = decide(probability, (lower, upper), value, policy)
    told = (
        probability,
        decision.tier,
        value,
        least,
        most,
        decision.recommendation,
        decision.confidence,
        decision.value_at_risk_usd,
        "",
    )
    return dict(zip(OURS, map(str, told), strict=True))


def test_each_row_is_told_what_a_single_customer_is_told(tmp_path, models, part_bytes):
    customers = some_customers(40, seed=3)
    outcome = score_file(a_task(write_csv(tmp_path / "c.csv", customers)), tmp_path / "out.csv")
    assert (outcome.n_rows, outcome.n_failed) == (40, 0)
    for row, customer in zip(read_csv(tmp_path / "out.csv"), customers, strict=True):
        assert {name: row[name] for name in OURS} == alone(customer, models)
        assert row["customerId"] == customer["customerId"]


def test_all_formats_tell_the_same(tmp_path, part_bytes):
    write_csv(tmp_path / "c.csv", some_customers(25, seed=4))
    for into in ("csv", "ndjson", "parquet"):
        score_file(a_task(tmp_path / "c.csv", into), tmp_path / f"out.{into}")
    text = [{name: row[name] for name in OURS} for row in read_csv(tmp_path / "out.csv")]
    objects = [json.loads(line) for line in (tmp_path / "out.ndjson").read_text().splitlines()]
    with (tmp_path / "out.parquet").open("rb") as file:
        table = read_parquet(file).read_all()
        records = [row for batch in table.to_batches() for row in batch.to_struct_array().to_pylist()]
    for others in (objects, records):
        told = [{name: "" if row[name] is None else str(row[name]) for name in OURS} for row in others]
        assert told == text


def test_a_result_is_scored_again_to_the_same_result(tmp_path, part_bytes):
    """From Parquet as from CSV: the added columns of before are left out."""
    write_csv(tmp_path / "c.csv", some_customers(25, seed=5))
    score_file(a_task(tmp_path / "c.csv"), tmp_path / "once.csv")
    score_file(a_task(tmp_path / "once.csv"), tmp_path / "twice.csv")
    assert read_csv(tmp_path / "twice.csv") == read_csv(tmp_path / "once.csv")


def test_rows_that_are_not_in_order_are_told_with_line_field_and_reason(tmp_path, capsys, part_bytes):
    customers = some_customers(12, seed=6)
    customers[3]["state"] = "??"
    customers[7] |= {"totalDayCalls": -1, "areaCode": "999"}
    path = write_csv(tmp_path / "c.csv", customers)
    arguments = ["score", str(path), "--out", str(tmp_path / "out.csv"), "--errors", str(tmp_path / "bad.csv")]
    assert main([*arguments, "--jobs", "1"]) == 0
    found = [(row["line"], row["field"]) for row in read_csv(tmp_path / "bad.csv")]
    assert sorted(found) == [("5", "state"), ("9", "areaCode"), ("9", "totalDayCalls")]
    rows = read_csv(tmp_path / "out.csv")
    assert [bool(row["error"]) for row in rows] == [number in (3, 7) for number in range(12)]
    assert "12 customers, 2 not in order" in capsys.readouterr().out


cells = st.sampled_from(["plain", 'with "marks"', "two\nlines", "comma, comma", "", '"', "\r", "é"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(cells, min_size=1, max_size=14),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(1, 400),
    st.binary(max_size=9),
)
def test_a_file_is_parted_between_rows_alone(tmp_path_factory, notes, end, n_bytes, more):
    """Whatever is quoted or damaged in it, the parts together have the rows of the whole."""
    path = tmp_path_factory.mktemp("parts") / "c.csv"
    write_csv(path, [a_customer(note=note) for note in notes], end=end)
    path.write_bytes(path.read_bytes() + more)
    before = telelink_score.parts._BYTES_PER_PART
    telelink_score.parts._BYTES_PER_PART = n_bytes
    try:
        with open_parted(path, "csv", {}) as apart, open_parted(path, "csv", {}) as file:
            parted = [chunk for part in apart.parts() for chunk in file.chunks(part)]
        with open_parted(path, "csv", {}) as file:
            whole = list(file.source.chunks(5_000))
    finally:
        telelink_score.parts._BYTES_PER_PART = before
    for what in ("records", "lines"):
        assert [each for chunk in parted for each in getattr(chunk, what)] == [
            each for chunk in whole for each in getattr(chunk, what)
        ]
    assert [bool(chunk.faults) for chunk in whole] or not parted
    assert sum(len(chunk.faults) for chunk in parted) == sum(len(chunk.faults) for chunk in whole)


def test_a_header_alone_has_a_result_without_rows(tmp_path):
    path = write_csv(tmp_path / "c.csv", [], header=list(a_customer()))
    outcome = score_file(a_task(path), tmp_path / "out.csv")
    assert outcome.n_rows == 0
    assert (tmp_path / "out.csv").read_text() == ",".join([*a_customer(), *OURS]) + "\n"


def test_missing_columns_are_named_with_their_known_spellings(tmp_path, capsys):
    customers = [{name: value for name, value in a_customer().items() if name not in ("state", "voiceMailPlan")}]
    path = write_csv(tmp_path / "c.csv", customers)
    assert main(["score", str(path), "--out", str(tmp_path / "out.csv"), "--jobs", "1"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "telelink: Columns are missing: state, voiceMailPlan."
    assert "  voiceMailPlan may also be headed voice_mail_plan, vmail_plan" in said
    assert not any("accountLength" in line for line in said)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["c.csv"]


def test_a_header_of_ones_own_is_mapped(tmp_path):
    customers = [{("Where" if name == "state" else name): value for name, value in a_customer().items()}]
    path = write_csv(tmp_path / "c.csv", customers)
    arguments = ["score", str(path), "--out", str(tmp_path / "out.csv"), "--jobs", "1"]
    assert main(arguments) == 1
    assert main([*arguments, "--map", "Where=state"]) == 0


def test_limits_of_value_can_be_given(tmp_path):
    path = write_csv(tmp_path / "c.csv", some_customers(30, seed=1))
    told = []
    for usd in ("1", "1e6"):
        arguments = ["score", str(path), "--out", str(tmp_path / "out.csv"), "--jobs", "1"]
        assert main([*arguments, "--top-value-usd", usd]) == 0
        told.append({row["recommendation"].split(":")[0] for row in read_csv(tmp_path / "out.csv")})
    low, high = told
    assert "NURTURE" in low
    assert "NURTURE" not in high


def test_a_tampered_model_is_refused_and_nothing_is_written(tmp_path, capsys):
    served = artifact.served_version(CHURN_MODELS, "churn")
    folder = tmp_path / "models" / "churn" / served
    shutil.copytree(CHURN_MODELS / "churn" / served, folder)
    with (folder / artifact.ONNX).open("ab") as file:
        file.write(b" ")
    path = write_csv(tmp_path / "c.csv", some_customers(3, seed=1))
    arguments = ["score", str(path), "--out", str(tmp_path / "out.csv"), "--jobs", "1"]
    assert main([*arguments, "--models", str(tmp_path / "models"), str(CLV_MODELS)]) == 1
    assert "model.onnx" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_a_file_that_breaks_off_leaves_the_result_of_before(tmp_path):
    path = write_csv(tmp_path / "c.csv", some_customers(3, seed=1))
    path.write_bytes(path.read_bytes() + b"x" * 300_000)
    (tmp_path / "out.csv").write_text("of before")
    with pytest.raises(BadFile):
        score_file(a_task(path), tmp_path / "out.csv", tmp_path / "bad.csv")
    assert (tmp_path / "out.csv").read_text() == "of before"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["c.csv", "out.csv"]


@pytest.mark.parametrize(
    ("arguments", "reason", "code"),
    [
        (("none.csv", "--out", "o.csv"), "there is no such file", 1),
        (("c.csv", "--out", "o.xls"), "the name must end in", 1),
        (("c.csv", "--out", "o.csv", "--map", "state"), "--map takes HEADER=FIELD", 2),
        (("c.csv", "--out", "o.csv", "--map", "x=state"), "names a column that the file has not", 1),
        ((".", "--out", "."), "results would take the place of customers", 2),
        (("c.csv", "--out", "c.csv"), "c.csv: is a file of customers", 2),
        (("c.csv", "--out", "link.csv"), "c.csv: is a file of customers", 2),
        (("c.csv", "--out", "hard.csv"), "hard.csv: is a file of customers", 2),
        (("c.csv", "--out", "o.csv", "--errors", "sub/../c.csv"), "c.csv: is a file of customers", 2),
        (("c.csv", "--out", "o.csv", "--errors", "sub/../o.csv"), "two results would have this name", 2),
        (("c.csv", "--out", "pipe.csv"), "pipe.csv: is not a regular file", 2),
        (("c.csv", "--out", "null.csv"), "/dev/null: is not a regular file", 2),
        (("c.csv", "--out", "o.csv", "--errors", "sub"), "sub: is not a regular file", 2),
        (("c.csv", "--out", "round.csv"), "round.csv: is not a regular file", 2),
        (("many", "--out", "new", "--format", "csv"), "a.csv: two results would have this name", 2),
        (("many", "--out", "new", "--errors", "bad"), "a.csv: two results would have this name", 2),
        (("many/*.csv", "--out", "new", "--errors", "many"), "a.csv: is a file of customers", 2),
        (("", "--out", "o.csv"), "name a file of customers", 2),
        (("c.csv", "--out", "o.csv", "--gateway", "http://x", "--key-file", "key"), "key: holds no API key", 2),
        (("c.csv", "--out", "o.csv", "--gateway", "http://x", "--high-value-usd", "0"), "by its own models", 2),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments, reason, code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "c.csv", some_customers(2, seed=1))
    (tmp_path / "link.csv").symlink_to("c.csv")
    (tmp_path / "hard.csv").hardlink_to("c.csv")
    (tmp_path / "null.csv").symlink_to("/dev/null")
    (tmp_path / "round.csv").symlink_to("round.csv")
    os.mkfifo("pipe.csv")
    (tmp_path / "key").write_bytes(b"caf\xe9")
    for name in ("sub", "many"):
        (tmp_path / name).mkdir()
    for name in ("a.csv", "a.ndjson"):
        (tmp_path / "many" / name).write_bytes((tmp_path / "c.csv").read_bytes())
    before = {each: each.lstat() for each in tmp_path.rglob("*")}
    assert main(["score", *arguments, "--jobs", "1"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("telelink: ")
    assert reason in line
    after = {each: each.lstat() for each in tmp_path.rglob("*")}
    assert [(each, seen.st_ino) for each, seen in after.items()] == [
        (each, seen.st_ino) for each, seen in before.items()
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        *(("--high-value-usd", usd) for usd in ("nan", "inf", "-1")),
        ("--top-value-usd", "nan"),
        *(("--gateway", url) for url in ("", "http://[", "localhost:8000", "http://", "http://x:y", "ftp://x")),
    ],
    ids=" ".join,
)
def test_values_that_cannot_be_are_refused_at_once(arguments, tmp_path, capsys):
    path = write_csv(tmp_path / "c.csv", some_customers(2, seed=1))
    with pytest.raises(SystemExit) as ended:
        main(["score", str(path), "--out", str(tmp_path / "out.csv"), *arguments])
    assert ended.value.code == 2
    assert f"argument {arguments[0]}: invalid" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["c.csv"]


def test_several_processes_tell_the_reason_that_one_tells(tmp_path, capfd):
    path = write_csv(tmp_path / "c.csv", some_customers(2, seed=1))
    arguments = ["score", str(path), "--out", str(tmp_path / "out.csv"), "--models", "/nonexist", "/nonexist"]
    said = []
    for n_processes in ("1", "2"):
        assert main([*arguments, "--quiet", "--jobs", n_processes]) == 1
        said.append(capfd.readouterr().err)
    assert said[0] == said[1]
    assert said[0].startswith("telelink: no version of model 'churn' in /nonexist")
    assert said[0].count("\n") == 1


def test_a_link_is_written_through_and_the_files_mode_is_kept(tmp_path):
    path = write_csv(tmp_path / "c.csv", some_customers(2, seed=1))
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "r.csv").write_text("of before")
    (tmp_path / "real" / "r.csv").chmod(0o640)
    (tmp_path / "out.csv").symlink_to("real/r.csv")
    (tmp_path / "bad.csv").symlink_to("real/new.csv")
    before = os.umask(0o026)
    try:
        arguments = ["score", str(path), "--out", str(tmp_path / "out.csv"), "--errors", str(tmp_path / "bad.csv")]
        assert main([*arguments, "--jobs", "1"]) == 0
    finally:
        os.umask(before)
    assert len(read_csv(tmp_path / "real" / "r.csv")) == 2
    modes = {each.name: oct(each.stat().st_mode & 0o777) for each in (tmp_path / "real").iterdir()}
    assert modes == {"r.csv": "0o640", "new.csv": "0o640"}
    assert all((tmp_path / name).is_symlink() for name in ("out.csv", "bad.csv"))


def test_a_folder_is_scored_file_by_file(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for number in range(3):
        write_csv(tmp_path / "in" / f"p{number}.csv", some_customers(4, seed=number))
    write_csv(tmp_path / "in" / "_unfinished.csv", [])
    (tmp_path / "in" / "README.txt").write_text("not customers")
    arguments = ["score", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--jobs", "2", "--quiet"]
    assert main([*arguments, "--format", "ndjson"]) == 0
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["p0.ndjson", "p1.ndjson", "p2.ndjson"]
    assert capsys.readouterr().out.count("4 customers") == 3


def test_every_column_of_a_customer_is_known_to_the_file():
    assert {*raw_columns([a_customer()])} <= {*COLUMNS}
