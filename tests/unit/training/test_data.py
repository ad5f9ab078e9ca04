import csv

import numpy as np
import pandas as pd
import pytest

from telelink_shared.customer import CHARGES, COLUMNS, ELEVEN, MINUTES, STATES
from telelink_training.data import (
    CHURN,
    LIFETIME_VALUE,
    DataError,
    Dataset,
    known,
    lifetime_value_usd,
    load_csv,
    must_not_overlap,
    normalise,
    synthetic,
)

PLAIN = synthetic(200, seed=3)

BIGML = {column: column.replace("_", " ").capitalize() for column in COLUMNS} | {
    "number_of_vmail_messages": "Number vmail messages",
    CHURN: "Churn",
}
OPENML = {
    "number_of_vmail_messages": "number_vmail_messages",
    "customer_service_calls": "number_customer_service_calls",
}
CAMEL = {
    column: column.split("_")[0] + "".join(word.capitalize() for word in column.split("_")[1:]) for column in COLUMNS
}
CLASSIC = {
    "state": "State",
    "account_length": "Account Length",
    "area_code": "Area Code",
    "international_plan": "Int'l Plan",
    "voice_mail_plan": "VMail Plan",
    "number_of_vmail_messages": "VMail Message",
    "customer_service_calls": "CustServ Calls",
    CHURN: "Churn?",
} | {
    f"total_{period}_{word}": f"{period.capitalize()} {short}"
    for period in ("day", "eve", "night", "intl")
    for word, short in (("minutes", "Mins"), ("calls", "Calls"), ("charge", "Charge"))
}


def spelled(headers=None, **values):
    """The plain frame with other headers, and each named column put through a function or a mapping."""
    frame = PLAIN.frame.copy()
    for column, other in values.items():
        frame[column] = frame[column].map(other)
    return frame.rename(columns=headers or {})


def bad(**columns):
    """The plain frame with these columns replaced; None takes one away."""
    frame = PLAIN.frame.astype(object)
    for column, values in columns.items():
        if values is None:
            frame = frame.drop(columns=column)
        else:
            frame.loc[range(len(values)), column] = values
    return frame


def numbered_by_openml():
    frame = spelled(
        OPENML | {CHURN: "class"},
        state={code: position for position, code in enumerate(STATES)},
        area_code=int,
        international_plan={"no": "0", "yes": "1"},
        voice_mail_plan={"no": "0", "yes": "1"},
        churn={False: "0", True: "1"},
    )
    for column in ("international_plan", "voice_mail_plan", "number_customer_service_calls", "class"):
        frame[column] = frame[column].astype("category")
    return frame.assign(phone_number=range(len(frame)))


COPIES = {
    "BigML": spelled(
        BIGML, area_code=int, international_plan={"no": "No", "yes": "Yes"}, voice_mail_plan={"no": "No", "yes": "Yes"}
    ),
    "classic": spelled(CLASSIC, churn={False: "False.", True: "True."}),
    "with a space before each word": spelled(
        OPENML,
        state=lambda code: f" {code}",
        area_code=lambda code: f" area_code_{code}",
        international_plan=lambda word: f" {word}",
        voice_mail_plan=lambda word: f" {word.upper()}",
        churn={False: " no", True: " yes"},
    ),
    "camel case": spelled(
        CAMEL, state=str.lower, area_code=float, voice_mail_plan={"no": False, "yes": True}, churn={False: 0, True: 1}
    ),
    "numbered": numbered_by_openml(),
    "numbered, plans as numbers": spelled(
        international_plan={"no": 0.0, "yes": 1.0}, voice_mail_plan={"no": 0, "yes": 1}
    ),
    "rows and columns in capitals": spelled(
        {name: name.upper() for name in (*COLUMNS, CHURN)}, churn={False: "FALSE", True: "TRUE"}
    ),
}


@pytest.mark.parametrize("copy", COPIES)
def test_every_public_spelling_gives_the_same_frame_and_fingerprint(copy):
    dataset = normalise(COPIES[copy], source=copy)
    pd.testing.assert_frame_equal(dataset.frame, PLAIN.frame)
    assert dataset.fingerprint == PLAIN.fingerprint


@pytest.mark.parametrize("copy", COPIES)
def test_a_csv_of_every_spelling_gives_the_same_frame(copy, tmp_path):
    COPIES[copy].to_csv(tmp_path / "customers.csv", index=False)
    dataset = load_csv(tmp_path / "customers.csv")
    pd.testing.assert_frame_equal(dataset.frame, PLAIN.frame)
    assert dataset.source == "customers.csv"


def test_other_rows_have_another_fingerprint():
    other = PLAIN.frame.copy()
    other.loc[17, "total_day_minutes"] += 0.1
    assert Dataset(other, "other").fingerprint != PLAIN.fingerprint


def test_a_column_map_names_headers_that_are_not_recognised():
    frame = PLAIN.frame.rename(columns={"account_length": "Tenure", CHURN: "Gone"})
    mapped = normalise(frame, source="own", column_map={"Tenure": "account_length", "Gone": CHURN})
    assert mapped.fingerprint == PLAIN.fingerprint


def test_a_column_of_its_own_with_lifetime_values_is_kept_and_used():
    worth = np.linspace(-500, 90_000, len(PLAIN.frame))
    dataset = normalise(PLAIN.frame.assign(**{"Lifetime value": worth}), source="own")
    target, is_simulated = lifetime_value_usd(dataset, seed=1)
    assert target.tolist() == worth.tolist()
    assert not is_simulated


def test_usage_may_be_missing_in_whole_or_for_some_rows():
    frame = PLAIN.frame.drop(columns=list(CHARGES))
    frame.loc[:9, "total_day_minutes"] = np.nan
    rows = normalise(frame, source="gaps").rows
    assert known(rows, MINUTES).sum() == 190
    assert known(rows, ()).all()
    assert not known(normalise(PLAIN.frame[[*ELEVEN, CHURN]], source="eleven").rows, MINUTES).any()


ERRORS = {
    "missing columns": (
        bad(state=None, churn=None),
        "columns missing: state, churn (found 18 columns, 200 rows)",
    ),
    "a column given twice": (
        PLAIN.frame.assign(accountLength=1.0),
        "columns given twice: account_length (found 21 columns, 200 rows)",
    ),
    "unknown states": (
        bad(state=["??", "Ohio", None]),
        "column state: must be the two-letter code of a US state or DC (3 of 200 rows)",
    ),
    "a state's number that does not exist": (
        bad(state=[51, -1]),
        "column state: must be the two-letter code of a US state or DC (2 of 200 rows)",
    ),
    "an unknown area code": (
        bad(area_code=["212"]),
        "column area_code: must be one of 408, 415, 510 (1 of 200 rows)",
    ),
    "an unknown plan": (
        bad(voice_mail_plan=["maybe", 2, np.nan]),
        "column voice_mail_plan: must be yes or no (3 of 200 rows)",
    ),
    "unknown outcomes": (
        bad(churn=["perhaps", "", None, 3]),
        "column churn: must be yes or no (4 of 200 rows)",
    ),
    "words and gaps in a required number": (
        bad(account_length=["long", None, -1, np.inf]),
        "column account_length: must be a number from 0 on (4 of 200 rows)",
    ),
    "words in an optional number": (
        bad(total_eve_minutes=["long", None]),
        "column total_eve_minutes: must be a number from 0 on (1 of 200 rows)",
    ),
    "a gap in the lifetime values": (
        bad(lifetime_value_usd=[5.0] * 199),
        "column lifetime_value_usd: must be a number (1 of 200 rows)",
    ),
    "a number beyond all sense": (
        bad(total_day_minutes=[1e300]),
        "column total_day_minutes: must be numbers of at most 1,000,000,000 (1 of 200 rows)",
    ),
    "too few rows": (PLAIN.frame.head(99), "99 rows are too few: at least 100 are needed"),
    "too few churners": (
        PLAIN.frame.assign(churn=[True] * 9 + [False] * 191),
        "column churn: 9 of 200 rows say yes; at least 10 of each are needed",
    ),
    "rows given twice": (
        pd.concat([PLAIN.frame, PLAIN.frame.head(7)]),
        "7 of 207 rows repeat another row in every column used: give each customer once",
    ),
    "nobody stays": (
        PLAIN.frame.assign(churn=True),
        "column churn: 200 of 200 rows say yes; at least 10 of each are needed",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_data_that_cannot_be_learnt_from_is_one_line_with_columns_and_counts(case):
    frame, message = ERRORS[case]
    with pytest.raises(DataError) as error:
        normalise(frame, source="bad")
    assert str(error.value) == message


def test_a_mapped_header_that_is_not_there_is_an_error():
    with pytest.raises(DataError, match=r"columns to be mapped are missing: Tenure \(found 20 columns, 200 rows\)"):
        normalise(PLAIN.frame, source="own", column_map={"Tenure": "account_length"})


def test_a_mapped_header_counts_for_its_column_whatever_else_is_called_like_it():
    frame = PLAIN.frame.rename(columns={CHURN: "Exited"}).assign(Churn="unknown", target=0.5)
    assert normalise(frame, source="own", column_map={"Exited": CHURN}).fingerprint == PLAIN.fingerprint


def test_a_mapped_column_is_named_by_both_its_names():
    frame = bad(churn=["perhaps"]).rename(columns={CHURN: "Exited"})
    with pytest.raises(DataError, match=r"^column churn \(Exited\): must be yes or no \(1 of 200 rows\)$"):
        normalise(frame, source="own", column_map={"Exited": CHURN})


def test_customers_that_were_trained_on_are_never_reported_on():
    other = synthetic(150, seed=4)
    must_not_overlap(PLAIN, other)
    shared = Dataset(pd.concat([other.frame, PLAIN.frame.head(3)]), "further")
    with pytest.raises(DataError, match=r"^3 of 153 rows of further are also in synthetic, 200 rows, seed 3: report"):
        must_not_overlap(PLAIN, shared)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"a,b\n1,2\n1,2,3,4\n", b"\x1f\x8b\x08garbage", b'a,b\n"1,2\n'],
    ids=["empty", "no UTF-8", "ragged", "compressed", "open quote"],
)
@pytest.mark.parametrize("name", ["customers.csv", "customers.csv.gz"])
def test_a_file_that_is_no_csv_is_one_line(content, name, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        load_csv(tmp_path / name)
    assert str(error.value).splitlines() == [str(error.value)]


def test_a_byte_order_mark_is_no_part_of_the_first_header(tmp_path):
    (tmp_path / "excel.csv").write_bytes(b"\xef\xbb\xbf" + PLAIN.frame.to_csv(index=False).encode())
    assert load_csv(tmp_path / "excel.csv").fingerprint == PLAIN.fingerprint


def test_a_space_before_a_quote_and_a_gap_made_of_a_space_are_understood(tmp_path):
    frame = PLAIN.frame.astype(object)
    frame.loc[0, "total_day_minutes"] = " "
    frame["state"] = [f' "{code}"' for code in frame["state"]]
    frame.to_csv(tmp_path / "spaces.csv", index=False, quoting=csv.QUOTE_NONE)
    dataset = load_csv(tmp_path / "spaces.csv")
    assert dataset.frame["state"].tolist() == PLAIN.frame["state"].tolist()
    assert dataset.frame["total_day_minutes"].isna().sum() == 1


def test_the_generator_is_seeded():
    assert synthetic(200, seed=3).fingerprint == PLAIN.fingerprint
    assert synthetic(200, seed=4).fingerprint != PLAIN.fingerprint


def test_made_up_customers_look_like_the_public_ones():
    frame = synthetic(5_000).frame
    assert 0.10 < frame[CHURN].mean() < 0.20
    assert set(frame["state"]) == set(STATES)
    assert (frame.loc[frame["voice_mail_plan"] == "no", "number_of_vmail_messages"] == 0).all()


def test_a_lifetime_value_is_simulated_by_the_stated_formula():
    value, is_simulated = lifetime_value_usd(PLAIN, seed=7)
    frame = PLAIN.frame
    rates = {"day": 0.17, "eve": 0.085, "night": 0.045, "intl": 0.27}
    bill = sum(rate * frame[f"total_{period}_minutes"] for period, rate in rates.items())
    expected = (
        100 * frame["account_length"]
        + 35 * bill
        + 500 * (frame["international_plan"] == "yes")
        + 300 * (frame["voice_mail_plan"] == "yes")
        + np.random.default_rng(7).normal(0, 1_000, len(frame))
    )
    assert is_simulated
    assert value == pytest.approx(np.maximum(expected, 50).to_numpy())
    assert not np.array_equal(value, lifetime_value_usd(PLAIN, seed=8)[0])


def test_a_simulated_lifetime_value_is_at_least_fifty():
    frame = PLAIN.frame.assign(account_length=0.0, international_plan="no", voice_mail_plan="no")
    frame[list(MINUTES)] = 0.0
    value, _ = lifetime_value_usd(Dataset(frame, "new customers"), seed=1)
    assert value.min() == 50.0


def test_without_usage_no_lifetime_value_is_made_up():
    frame = PLAIN.frame.drop(columns=list(CHARGES))
    frame.loc[:4, "total_night_minutes"] = np.nan
    with pytest.raises(DataError, match=r"total_night_minutes.*missing in 5 of 200 rows.*add a column"):
        lifetime_value_usd(normalise(frame, source="gaps"), seed=1)
    assert LIFETIME_VALUE not in frame


def test_a_header_given_twice_is_an_error_whichever_of_both_is_meant(tmp_path):
    lines = PLAIN.frame.to_csv(index=False).splitlines()
    doubled = [f"{lines[0]},total_day_minutes", *(f"{line},1.0" for line in lines[1:])]
    (tmp_path / "own.csv").write_text("\n".join(doubled))
    with pytest.raises(DataError, match=r"^columns given twice: total_day_minutes \(found 21 columns, 200 rows\)$"):
        load_csv(tmp_path / "own.csv")


def test_rows_with_more_fields_than_the_header_move_no_column(tmp_path):
    lines = PLAIN.frame.to_csv(index=False).splitlines()
    (tmp_path / "own.csv").write_text("\n".join([lines[0], *(f"{line},1" for line in lines[1:])]))
    with pytest.raises(DataError, match=r"rows have more fields than the header"):
        load_csv(tmp_path / "own.csv")
