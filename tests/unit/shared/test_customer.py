import json

import pytest
from pydantic import TypeAdapter, ValidationError

from support.builders import a_customer
from telelink_shared.customer import (
    AREA_CODES,
    STATES,
    Customer,
    UnknownSpelling,
    canonical_area_code,
    canonical_plan,
    canonical_state,
)

ADAPTER = TypeAdapter(Customer)


@pytest.mark.parametrize("spelled", ["yes", "Yes", "YES", " yes", "true", "True.", True])
def test_every_spelling_of_yes_means_yes(spelled):
    assert canonical_plan(spelled) == "yes"


@pytest.mark.parametrize("spelled", ["no", "No", " no ", "false", "False.", False])
def test_every_spelling_of_no_means_no(spelled):
    assert canonical_plan(spelled) == "no"


@pytest.mark.parametrize("spelled", ["", "y", "ja", 1, None, "nope"])
def test_other_words_are_no_plan(spelled):
    with pytest.raises(UnknownSpelling, match=r"^must be yes or no$"):
        canonical_plan(spelled)


def test_fifty_states_and_dc_are_known():
    assert len(set(STATES)) == 51
    assert list(STATES) == sorted(STATES)


def test_a_state_is_taken_in_any_case_and_an_unknown_one_is_refused():
    assert canonical_state(" oh ") == "OH"
    with pytest.raises(UnknownSpelling):
        canonical_state("XX")


@pytest.mark.parametrize("spelled", [415, 415.0, "415", "area_code_415", " 415 "])
def test_an_area_code_is_taken_as_number_or_word(spelled):
    assert canonical_area_code(spelled) == "415"


@pytest.mark.parametrize("spelled", [999, "999", 415.5, True, None, "", "4150"])
def test_other_area_codes_are_refused(spelled):
    with pytest.raises(UnknownSpelling, match=", ".join(AREA_CODES)):
        canonical_area_code(spelled)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("accountLength", -1, "greater_than_equal"),
        ("accountLength", 1.5, "multiple_of"),
        ("accountLength", "128", "float_type"),
        ("accountLength", True, "float_type"),
        ("totalDayMinutes", float("nan"), "finite_number"),
        ("totalDayCalls", float("inf"), "finite_number"),
        ("state", "XX", "unknown_state"),
        ("areaCode", "999", "unknown_area_code"),
        ("internationalPlan", "perhaps", "unknown_plan"),
        ("totalDayMinuets", 3, "extra_forbidden"),
        ("customerId", "", "string_too_short"),
        ("customerId", "a\nb", "string_pattern_mismatch"),
    ],
)
def test_a_bad_value_is_refused_by_its_field(field, value, code):
    with pytest.raises(ValidationError) as error:
        ADAPTER.validate_python(a_customer() | {field: value})
    (found,) = error.value.errors()
    assert found["loc"] == (field,)
    assert found["type"] in (code, code.replace("string_", ""))


def test_whole_numbers_may_be_written_with_a_point():
    assert ADAPTER.validate_json(json.dumps(a_customer(accountLength=128.0))).account_length == 128


def test_a_customer_id_may_be_a_number():
    assert ADAPTER.validate_python(a_customer(customerId=4711)).customer_id == "4711"
