import pytest

from support.small_models import small_churn, small_clv, small_configs
from telelink_shared import artifact
from telelink_shared.customer import ELEVEN
from telelink_training.cli import main
from telelink_training.data import CHURN, synthetic


def run(tmp_path, *arguments):
    """`train` with folders of this test, and small forests."""
    folders = ["--churn-models", str(tmp_path / "churn"), "--clv-models", str(tmp_path / "clv")]
    return main(["train", "--jobs", "1", "--configs", str(small_configs(tmp_path)), *folders, *arguments])


def refused(tmp_path, capsys, *arguments):
    """The one line that is said; nothing is written."""
    assert run(tmp_path, *arguments) == 1
    said = capsys.readouterr()
    assert not (tmp_path / "churn").exists()
    assert not (tmp_path / "clv").exists()
    (line,) = said.err.splitlines()
    return line


def test_a_file_that_is_not_there_is_one_line_and_exit_code_one(tmp_path, capsys):
    path = str(tmp_path / "none.csv")
    assert refused(tmp_path, capsys, "--data", path) == (
        f"telelink_training: {path}: cannot be read (No such file or directory)"
    )


def test_a_folder_is_no_file(tmp_path, capsys):
    assert "cannot be read (Is a directory)" in refused(tmp_path, capsys, "--data", str(tmp_path))


def test_bad_further_rows_are_found_before_anything_is_trained(tmp_path, capsys):
    synthetic(100, seed=1).frame.head(50).to_csv(tmp_path / "few.csv")
    line = refused(tmp_path, capsys, "--data", "synthetic", "--test", str(tmp_path / "few.csv"))
    assert line == "telelink_training: 50 rows are too few: at least 100 are needed"


def test_customers_without_usage_and_values_leave_no_half_of_the_work(tmp_path, capsys):
    synthetic(200, seed=1).frame[[CHURN, *ELEVEN]].to_csv(tmp_path / "eleven.csv", index=False)
    line = refused(tmp_path, capsys, "--data", str(tmp_path / "eleven.csv"))
    assert "a lifetime value cannot be simulated without usage" in line
    assert "missing in 160 of 160 rows" in line


@pytest.mark.parametrize("pair", ["Tenure", "=account_length", "Tenure="])
def test_a_column_map_that_cannot_be_read_is_one_line(pair, tmp_path, capsys):
    line = refused(tmp_path, capsys, "--data", "synthetic", "--column-map", pair)
    assert line == f"telelink_training: --column-map takes HEADER=COLUMN, not '{pair}'"


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    synthetic(200, seed=1).frame.to_csv(tmp_path / "own.csv")
    folder = ("--clv-models", str(tmp_path / "file"))
    code = run(tmp_path, "--data", str(tmp_path / "own.csv"), "--model", "clv", *folder)
    last = capsys.readouterr().err.splitlines()[-1]
    assert code == 1
    assert last.startswith("telelink_training: [Errno ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns=["state"]), "columns missing: state (found 19 columns, 200 rows)"),
        (lambda frame: frame.head(3), "3 rows are too few: at least 100 are needed"),
        (lambda frame: frame.assign(churn="no"), "column churn: 0 of 200 rows say yes; at least 10 of each are needed"),
        (lambda frame: frame.assign(churn="left us"), "column churn: must be yes or no (200 of 200 rows)"),
        (
            lambda frame: frame.assign(state="ZZ"),
            "column state: must be the two-letter code of a US state or DC (200 of 200 rows)",
        ),
        (
            lambda frame: frame.iloc[[*range(200), 0, 1]],
            "2 of 202 rows repeat another row in every column used: give each customer once",
        ),
    ],
    ids=["missing column", "three rows", "one class", "text target", "unknown state", "duplicates"],
)
def test_bad_data_is_one_line_and_leaves_what_is_there_untouched(change, message, tmp_path, capsys):
    version = small_clv(synthetic(200, seed=2), tmp_path / "clv")
    before = {path.name: path.read_bytes() for path in version.iterdir()}
    change(synthetic(200, seed=1).frame).to_csv(tmp_path / "bad.csv", index=False)
    assert run(tmp_path, "--data", str(tmp_path / "bad.csv")) == 1
    assert capsys.readouterr().err == f"telelink_training: {message}\n"
    assert {path.name: path.read_bytes() for path in version.iterdir()} == before
    assert [path.name for path in (tmp_path / "clv" / "clv").iterdir()] == ["1"]
    assert not (tmp_path / "churn").exists()


def test_rows_to_report_on_that_are_trained_on_are_refused(tmp_path, capsys):
    synthetic(200, seed=1).frame.to_csv(tmp_path / "own.csv", index=False)
    path = str(tmp_path / "own.csv")
    line = refused(tmp_path, capsys, "--data", path, "--test", path)
    assert line == "telelink_training: 200 of 200 rows of own.csv are also in own.csv: report on other rows"


def test_the_column_that_says_who_left_can_be_named(tmp_path, capsys):
    frame = synthetic(200, seed=1).frame.rename(columns={CHURN: "Exited"}).assign(target=5)
    frame.to_csv(tmp_path / "own.csv", index=False)
    arguments = ("--data", str(tmp_path / "own.csv"), "--model", "clv")
    assert run(tmp_path, *arguments) == 1
    assert "column churn: must be yes or no (200 of 200 rows)" in capsys.readouterr().err
    assert run(tmp_path, *arguments, "--target-column", "Exited") == 0
    assert run(tmp_path, *arguments, "--target-column", "Left") == 1
    assert "columns to be mapped are missing: Left" in capsys.readouterr().err


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Two versions of both models, and customers in a file."""
    folder, data = tmp_path_factory.mktemp("models"), synthetic(200, seed=2)
    for seed in (1, 2):
        small_churn(data, folder, trees=3, seed=seed)
        small_clv(data, folder, half_width_usd=1_600.0 + seed)
    synthetic(150, seed=3).frame.to_csv(folder / "customers.csv", index=False)
    return folder


def test_versions_are_compared_on_a_file(published, capsys):
    for model in ("churn", "clv"):
        arguments = ("--model", model, "--models", str(published), "--data", str(published / "customers.csv"))
        assert main(["compare", "1", "2", *arguments]) == 0
        said = capsys.readouterr().out
        assert f"{model}: version 1 (old) and version 2 (new) on the same 150 rows (customers.csv)" in said


def test_a_report_is_written_where_it_is_wanted(published, tmp_path, capsys):
    arguments = ("--models", str(published), "--data", str(published / "customers.csv"))
    out = tmp_path / "report.html"
    assert main(["report", "churn", "2", *arguments, "--output", str(out)]) == 0
    assert "<h1>Model report: churn, version 2</h1>" in out.read_text()
    assert main(["report", "churn", "2", *arguments, "--output", str(tmp_path / "none" / "report.html")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("telelink_training: [Errno 2]")


def test_a_version_is_promoted_and_the_promotion_taken_back(published, capsys):
    where = ("--models", str(published))
    assert main(["promote", "churn", "1", *where]) == 0
    assert capsys.readouterr().out.startswith("churn: version 1 is to be served (before: 2); a service takes it at ")
    assert artifact.served_version(published, "churn") == "1"
    assert main(["rollback", "churn", *where]) == 0
    assert capsys.readouterr().out.startswith("churn: version 2 is to be served (before: 1)")
    assert artifact.served_version(published, "churn") == "2"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("promote", "churn", "7"), "model 'churn' has no version 7 in"),
        (("rollback", "clv"), "model 'clv' has no promotion to take back in"),
        (("compare", "1", "7", "--data", "synthetic"), "model 'churn' has no version 7 in"),
        (("report", "clv", "7", "--data", "synthetic"), "model 'clv' has no version 7 in"),
    ],
)
def test_a_version_that_is_not_there_is_one_line(arguments, reason, published, capsys):
    assert main([*arguments, "--models", str(published)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"telelink_training: {reason}")


def test_no_cores_at_all_is_a_mistake_in_the_command(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path, "--data", "synthetic", "--jobs", "0")
    assert "argument --jobs" in capsys.readouterr().err


def test_one_model_can_be_trained_alone_with_headers_of_its_own(tmp_path, capsys):
    synthetic(200, seed=1).frame.rename(columns={"account_length": "Tenure"}).to_csv(tmp_path / "own.csv")
    arguments = ("--data", str(tmp_path / "own.csv"), "--column-map", "Tenure=account_length")
    assert run(tmp_path, *arguments, "--model", "clv") == 0
    assert (tmp_path / "clv" / "clv" / "1" / "manifest.json").exists()
    assert not (tmp_path / "churn").exists()
    assert "training on 160 rows (own.csv, 80% of it), reporting on 40" in capsys.readouterr().out
