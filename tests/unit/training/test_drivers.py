import numpy as np
import pytest

from telelink_shared.artifact import REFERENCE_COLUMNS
from telelink_shared.customer import CHARGES, MINUTES, USAGE
from telelink_shared.features import prepare
from telelink_shared.reasons import GROUP_NAMES
from telelink_training.data import Dataset, synthetic
from telelink_training.drivers import drivers, reference_customer

DATA = synthetic(200, seed=5)


def test_the_reference_customer_has_medians_that_occur_and_the_most_frequent_words():
    reference = reference_customer(DATA)
    assert set(reference) == set(REFERENCE_COLUMNS)
    for column, value in reference.items():
        assert value in DATA.frame[column].tolist()
        if isinstance(value, float):
            assert value == pytest.approx(DATA.frame[column].median(), abs=1.5)
    assert reference["international_plan"] == "no"


def test_minutes_that_nobody_has_do_not_keep_a_customer_from_being_told_against():
    frame = DATA.frame.drop(columns=list(USAGE))
    reference = reference_customer(Dataset(frame, "eleven"))
    assert {column: reference[column] for column in MINUTES} == dict.fromkeys(MINUTES, 0.0)
    frame = DATA.frame.drop(columns=list(MINUTES))
    from_charges = reference_customer(Dataset(frame, "charges"))
    assert from_charges["total_day_minutes"] == pytest.approx(DATA.frame["total_day_minutes"].median(), abs=1)
    assert set(CHARGES).isdisjoint(from_charges)


def test_a_driver_is_the_mean_size_of_a_group_s_contribution_and_the_largest_comes_first():
    reference = reference_customer(DATA)

    def answer(rows):
        return 2.0 * rows.numbers["customer_service_calls"] - 0.01 * rows.numbers["account_length"]

    moved = drivers(answer, DATA.rows, reference)
    against = prepare({name: [value] for name, value in reference.items()}, n_rows=1).numbers
    calls = np.abs(DATA.rows.numbers["customer_service_calls"] - against["customer_service_calls"]).mean()
    tenure = np.abs(DATA.rows.numbers["account_length"] - against["account_length"]).mean()
    assert list(moved)[:2] == ["service_calls", "tenure"]
    assert moved["service_calls"] == pytest.approx(2.0 * calls)
    assert moved["tenure"] == pytest.approx(0.01 * tenure)
    assert set(moved) == set(GROUP_NAMES)
    assert sum(list(moved.values())[2:]) == 0
