"""Of the calls, at most a tenth and one are made twice."""

from hypothesis import given
from hypothesis import strategies as st

from telelink_gateway.upstream.retry import MOST, RetryBudget


@given(st.lists(st.booleans(), max_size=500))
def test_there_are_never_more_retries_than_a_tenth_of_the_calls_and_one(fails):
    budget = RetryBudget()
    n_retries = 0
    for n_calls, wants_a_retry in enumerate(fails, start=1):
        budget.earn()
        if wants_a_retry:
            n_retries += budget.spend()
        assert n_retries <= n_calls / 10 + 1


def test_where_every_call_fails_a_tenth_of_them_is_made_twice():
    budget = RetryBudget()
    n_retries = 0
    for _ in range(1_000):
        budget.earn()
        n_retries += budget.spend()
    assert 100 <= n_retries <= 101


def test_the_first_call_may_already_be_repeated_and_little_is_saved_up():
    budget = RetryBudget()
    assert budget.spend()
    assert not budget.spend()
    for _ in range(100_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) == MOST
