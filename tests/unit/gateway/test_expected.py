import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telelink_gateway.upstream.answer import Expected

PROBABILITY = Expected("p", 0.0, 1.0)
REVENUE = Expected("r", 0.0, 1e6, may_be_unknown=True)
WORD = Expected("variant")
ANYTHING = st.one_of(
    st.floats(), st.integers(), st.booleans(), st.none(), st.text(max_size=3), st.floats(0, 1), st.just(0.5)
)


def is_valid(expected, value):
    """The rule, for one value at a time."""
    if expected is WORD:
        return type(value) is str
    if value is None:
        return expected.may_be_unknown
    return type(value) in (int, float) and expected.lower <= value <= expected.upper


@pytest.mark.parametrize("expected", [PROBABILITY, REVENUE, WORD], ids=lambda each: each.name)
@given(values=st.lists(ANYTHING, max_size=6))
def test_the_rows_at_fault_are_those_whose_value_is(expected, values):
    wanted = [row for row, value in enumerate(values) if not is_valid(expected, value)]
    assert expected.invalid_rows(values) == wanted


@pytest.mark.parametrize("place", [0, 1, 2])
def test_no_number_hides_among_numbers(place):
    values = [0.5, 0.25, 0.75]
    values[place] = math.nan
    assert PROBABILITY.invalid_rows(values) == [place]


def test_several_values_for_each_customer_are_one_row():
    assert Expected("reasons", -1.0, 1.0, width=2).invalid_rows([0.5, 0.5, 0.5, 2.0]) == [1]
