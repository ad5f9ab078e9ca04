import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from support.builders import a_customer, raw_columns, some_customers, with_usage
from telelink_shared.artifact import Encoding
from telelink_shared.customer import CATEGORIES
from telelink_shared.features import BadColumn, bill_usd, encode, feature, prepare, table


def rows_of(*customers):
    columns = raw_columns(list(customers))
    return prepare(columns, n_rows=len(customers))


def test_charges_stand_in_for_minutes_that_are_missing():
    columns = {**raw_columns([a_customer(), a_customer()]), "total_day_minutes": [None, 100.0]}
    rows = prepare({**columns, "total_day_charge": [17.0, 99.0]}, n_rows=2)
    assert rows.numbers["total_day_minutes"] == pytest.approx([100.0, 100.0])


def test_the_bill_is_minutes_times_their_rates():
    minutes = {"totalDayMinutes": 100, "totalEveMinutes": 100, "totalNightMinutes": 100, "totalIntlMinutes": 100}
    (bill,) = bill_usd(rows_of(with_usage(**minutes)))
    assert bill == pytest.approx(17 + 8.5 + 4.5 + 27)


def test_the_bill_is_unknown_as_soon_as_one_period_is():
    (bill,) = bill_usd(rows_of(with_usage(totalIntlMinutes=None)))
    assert np.isnan(bill)


def test_a_part_of_the_bill_needs_its_own_periods_alone():
    rows = rows_of(with_usage(totalDayMinutes=100, totalIntlMinutes=10, totalEveMinutes=None, voiceMailPlan="no"))
    assert feature(rows, "day_intl_usd") == pytest.approx([19.7])
    assert feature(rows, "day_intl_without_voice_mail_usd") == pytest.approx([19.7])
    assert np.isnan(feature(rows, "day_eve_usd")).all()
    assert np.isnan(feature(rows, "day_eve_without_voice_mail_usd")).all()


def test_the_voice_mail_plan_takes_the_bill_out_but_not_the_gap():
    rows = rows_of(with_usage(voiceMailPlan="yes"), with_usage(voiceMailPlan="yes", totalDayMinutes=None))
    assert feature(rows, "bill_without_voice_mail_usd") == pytest.approx([0.0, np.nan], nan_ok=True)


def test_an_international_plan_lies_idle_the_more_the_fewer_calls_are_made():
    rows = rows_of(
        a_customer(internationalPlan="yes", totalIntlCalls=0),
        a_customer(internationalPlan="yes", totalIntlCalls=3),
        a_customer(internationalPlan="no", totalIntlCalls=0),
    )
    assert feature(rows, "unused_international_plan").tolist() == [1.0, 0.25, 0.0]


def test_international_minutes_count_for_holders_of_the_plan():
    rows = rows_of(
        with_usage(internationalPlan="yes", totalIntlMinutes=13.5),
        with_usage(internationalPlan="no", totalIntlMinutes=13.5),
        with_usage(internationalPlan="yes", totalIntlMinutes=None),
    )
    assert feature(rows, "plan_intl_minutes") == pytest.approx([13.5, 0.0, np.nan], nan_ok=True)


def test_other_spellings_give_the_same_rows():
    plain = raw_columns([a_customer(), a_customer(voiceMailPlan="no")])
    spelled = {**plain, "voice_mail_plan": ["TRUE", False], "state": ["ca", " CA"], "area_code": ["area_code_415", 415]}
    for name, codes in prepare(plain, n_rows=2).codes.items():
        assert prepare(spelled, n_rows=2).codes[name].tolist() == codes.tolist()


@pytest.mark.parametrize("column", sorted(CATEGORIES))
def test_an_unknown_word_is_an_error_that_names_column_and_rows_and_never_a_zero(column):
    columns = raw_columns([a_customer(), a_customer(), a_customer()])
    columns[column] = ["??", columns[column][1], None]
    with pytest.raises(BadColumn) as error:
        prepare(columns, n_rows=3)
    assert (error.value.column, error.value.n_rows) == (column, 2)
    assert "?" not in str(error.value)


def test_words_in_a_number_column_are_an_error():
    columns = raw_columns([a_customer(), a_customer()])
    with pytest.raises(BadColumn, match=r"total_day_calls: must be numbers \(1 row\)"):
        prepare({**columns, "total_day_calls": [1.0, "many"]}, n_rows=2)


def test_encoding_is_bit_for_bit_what_scikit_learn_computes():
    rows = rows_of(
        *(with_usage(**{k: v for k, v in each.items() if k != "customerId"}) for each in some_customers(200, seed=1))
    )
    numeric, categorical = ("account_length", "bill_usd", "total_day_minutes"), ("state", "voice_mail_plan")
    features = table(rows, numeric=numeric, categorical=categorical)
    values = [np.arange(len(CATEGORIES[name].values)) for name in categorical]
    fitted = ColumnTransformer(
        [
            ("scale", StandardScaler(), [0, 1, 2]),
            ("one_hot", OneHotEncoder(categories=values, sparse_output=False), [3, 4]),
        ]
    ).fit(features)
    scaler = fitted.named_transformers_["scale"]
    encoding = Encoding(numeric=numeric, mean=tuple(scaler.mean_), scale=tuple(scaler.scale_), categorical=categorical)
    assert np.array_equal(encode(rows, encoding), fitted.transform(features))
    assert encoding.n_features == 3 + 51 + 2
