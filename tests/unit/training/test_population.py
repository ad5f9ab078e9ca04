import pandas as pd
import pytest
from arro3.io import read_parquet

from telelink_shared.customer import CATEGORIES, COLUMNS
from telelink_training.cli import main
from telelink_training.data import CHURN, load_csv, synthetic
from telelink_training.population import BLOCK, batches, write_population


@pytest.fixture(scope="module")
def frame():
    return synthetic(5 * BLOCK, seed=1).frame


@pytest.mark.parametrize(
    ("column", "mean", "deviation"),
    [
        ("account_length", 101.1, 39.8),
        ("number_of_vmail_messages", 8.1, 13.7),
        ("customer_service_calls", 1.56, 1.32),
        ("total_day_calls", 100.4, 20.1),
        ("total_intl_calls", 4.48, 2.46),
        ("total_day_minutes", 179.8, 54.5),
        ("total_intl_minutes", 10.2, 2.8),
        ("total_night_charge", 9.04, 2.28),
    ],
)
def test_means_and_deviations_are_those_of_the_public_data(frame, column, mean, deviation):
    values = frame[column]
    assert values.mean() == pytest.approx(mean, rel=0.02)
    assert values.std() == pytest.approx(deviation, rel=0.03)


def test_rates_are_those_of_the_public_data(frame):
    assert frame[CHURN].mean() == pytest.approx(0.145, abs=0.005)
    assert (frame.international_plan == "yes").mean() == pytest.approx(0.097, abs=0.005)
    assert (frame.voice_mail_plan == "yes").mean() == pytest.approx(0.277, abs=0.008)
    assert (frame.area_code == "415").mean() == pytest.approx(0.497, abs=0.008)
    assert set(frame.state) == set(CATEGORIES["state"].values)


def test_those_leave_who_leave_in_the_public_data(frame):
    bill = frame[[name for name in frame if name.endswith("_charge")]].sum(axis=1)
    assert frame[CHURN][(bill > 74) & (frame.voice_mail_plan == "no")].mean() > 0.9
    assert frame[CHURN][(frame.international_plan == "yes") & (frame.total_intl_calls <= 2)].mean() > 0.9
    assert frame[CHURN][(frame.customer_service_calls >= 4) & (frame.total_day_minutes < 160)].mean() > 0.9
    assert frame[CHURN][(frame.customer_service_calls < 4) & (frame.international_plan == "no")].mean() < 0.12


def test_the_first_customers_are_the_same_however_many_there_are():
    few, many = (synthetic(n_rows, seed=4).frame for n_rows in (150, BLOCK + 150))
    pd.testing.assert_frame_equal(few, many.head(150))
    assert not many.tail(150).reset_index(drop=True).equals(few)


def test_another_seed_makes_other_customers():
    assert not synthetic(150, seed=4).frame.equals(synthetic(150, seed=5).frame)


def test_both_kinds_of_file_hold_the_same_customers_each_with_an_id(tmp_path, capsys):
    n_rows = BLOCK + 7
    for name in ("made.csv", "made.parquet"):
        assert main(["population", "--rows", str(n_rows), "--output", str(tmp_path / name), "--seed", "9"]) == 0
    text = pd.read_csv(tmp_path / "made.csv", dtype={"area_code": str})
    with (tmp_path / "made.parquet").open("rb") as file:
        table = pd.DataFrame(read_parquet(file).read_all().to_struct_array().to_pylist())
    pd.testing.assert_frame_equal(text, table, check_dtype=False)
    assert list(text.columns) == ["customer_id", *COLUMNS, CHURN]
    assert text.customer_id.iloc[[0, -1]].tolist() == ["C000000001", f"C{n_rows:09d}"]
    assert text.customer_id.is_unique
    assert "10,007 made-up customers" in capsys.readouterr().out


def test_the_file_is_read_as_the_customers_that_training_makes_up(tmp_path):
    write_population(tmp_path / "made.csv", 300, seed=2)
    pd.testing.assert_frame_equal(load_csv(tmp_path / "made.csv").frame, synthetic(300, seed=2).frame)


def test_no_more_is_held_than_a_block_however_many_are_asked_for():
    first = next(batches(10**9, seed=0))
    assert first.num_rows == BLOCK
    assert first["customer_id"][0].as_py() == "C000000001"


def test_a_folder_that_is_not_there_is_one_line_and_leaves_nothing(tmp_path, capsys):
    assert main(["population", "--rows", "10", "--output", str(tmp_path / "none" / "made.csv")]) == 1
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("telelink_training: ")
    assert list(tmp_path.iterdir()) == []
