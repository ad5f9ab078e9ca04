import pytest

from telelink_shared.customer import ELEVEN
from telelink_training.cli import main
from telelink_training.data import CHURN, synthetic


def run(tmp_path, *arguments):
    """`train` with folders of this test."""
    folders = ["--churn-models", str(tmp_path / "churn"), "--clv-models", str(tmp_path / "clv")]
    return main(["train", "--jobs", "1", *folders, *arguments])


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
