"""Exact Shapley values, against a computation by hand that shares no code with the product's."""

from itertools import combinations
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.builders import REFERENCE, TOY_DEFINITION, a_customer, raw_columns, toy_manifest, with_usage
from telelink_shared.artifact import Encoding, Variant
from telelink_shared.customer import MINUTES
from telelink_shared.features import encode, prepare
from telelink_shared.reasons import GROUP_NAMES, GROUPS
from telelink_shared.serving.model import LoadedModel
from telelink_shared.serving.reasons import contributions

# A toy with all columns of the public data, whose features act upon each other.
VARIANT = Variant(
    name="only",
    needs=(),
    encoding=Encoding(
        numeric=("account_length", "customer_service_calls", "total_day_calls", "bill_without_voice_mail_usd"),
        mean=(100.0, 1.5, 100.0, 30.0),
        scale=(40.0, 1.3, 20.0, 30.0),
        categorical=("international_plan", "state"),
    ),
)


class Tangled:
    """Scores that are no sum over features: products of neighbours, and a step."""

    platform = "by hand"

    def score(self, _variant, matrix):
        known = np.nan_to_num(matrix)
        return np.tanh((known * np.roll(known, 1, axis=1)).sum(axis=1)) / 4 + 0.1 * (known[:, 1] > 0.5) + 0.5


MODEL = LoadedModel(TOY_DEFINITION, toy_manifest(b"", variants=(VARIANT,)), Tangled())


def prepared(*customers):
    """Customers given by raw columns; what one does not name is the reference customer's."""
    full = [REFERENCE | customer for customer in customers]
    return prepare({name: [customer[name] for customer in full] for name in REFERENCE}, n_rows=len(full))


def share(rows):
    """What the toy answers."""
    return MODEL.answer(VARIANT, rows)["share"]


def by_hand(customer, answer):
    """What a group's joining adds, averaged over all subsets of the others, by the definition."""

    def of(coalition):
        members = {column for group in GROUPS if group.name in coalition for column in group.columns}
        return float(answer(prepared({name: value for name, value in customer.items() if name in members}))[0])

    n = len(GROUP_NAMES)
    answers = {
        frozenset(coalition): of(coalition) for size in range(n + 1) for coalition in combinations(GROUP_NAMES, size)
    }
    return [
        sum(
            factorial(len(subset)) * factorial(n - len(subset) - 1) / factorial(n) * (answers[subset | {name}] - before)
            for subset, before in answers.items()
            if name not in subset
        )
        for name in GROUP_NAMES
    ]


customers = st.fixed_dictionaries(
    {},
    optional={
        "account_length": st.integers(1, 243).map(float),
        "state": st.sampled_from(["OH", "WV", "CA"]),
        "area_code": st.sampled_from(["408", "415"]),
        "international_plan": st.sampled_from(["yes", "no"]),
        "voice_mail_plan": st.sampled_from(["yes", "no"]),
        "total_day_calls": st.integers(0, 165).map(float),
        "customer_service_calls": st.integers(0, 9).map(float),
        **{name: st.floats(0, 350) for name in MINUTES},
    },
)


@settings(max_examples=20, deadline=None)
@given(customers)
def test_they_are_the_shapley_values(customer):
    shares, baseline = contributions(prepared(customer), prepared({}), share)
    assert shares[0] == pytest.approx(by_hand(customer, share), abs=1e-12)
    assert baseline == share(prepared({}))


@settings(deadline=None)
@given(st.lists(customers, min_size=1, max_size=40))
def test_they_add_up_and_a_group_as_in_the_reference_customer_has_exactly_none(some):
    rows = prepared(*some)
    shares, baseline = contributions(rows, prepared({}), share)
    assert shares.sum(axis=1) + baseline == pytest.approx(share(rows), abs=1e-12)
    for customer, mine in zip(some, shares, strict=True):
        for group, value in zip(GROUPS, mine, strict=True):
            if all(customer.get(column) in (None, REFERENCE.get(column)) for column in group.columns):
                assert value == 0.0


@settings(deadline=None)
@given(customers)
def test_a_group_that_the_model_does_not_look_at_has_exactly_none(customer):
    shares, _ = contributions(
        prepared(customer | {"area_code": "510"}), prepared({}), lambda r: r.numbers["account_length"]
    )
    assert [name for name, value in zip(GROUP_NAMES, shares[0], strict=True) if value != 0.0] in ([], ["tenure"])


@settings(deadline=None)
@given(customers, st.floats(0, 300), st.floats(0, 300))
def test_groups_that_do_the_same_have_the_same(customer, evening, night):
    reference = prepared({"total_eve_calls": 50.0, "total_night_calls": 50.0})
    rows = prepared(customer | {"total_eve_calls": evening, "total_night_calls": evening})

    def answer(mixed):
        return mixed.numbers["account_length"] * np.sqrt(
            mixed.numbers["total_eve_calls"] * mixed.numbers["total_night_calls"]
        )

    shares, _ = contributions(rows, reference, answer)
    assert shares[0, GROUP_NAMES.index("evening")] == pytest.approx(shares[0, GROUP_NAMES.index("night")], rel=1e-9)


@settings(deadline=None)
@given(customers)
def test_the_contributions_to_a_sum_are_the_sums_of_the_contributions(customer):
    rows, reference = prepared(customer), prepared({})

    def other(mixed):
        return mixed.numbers["total_day_minutes"] * mixed.numbers["account_length"]

    together, _ = contributions(rows, reference, lambda mixed: share(mixed) + other(mixed))
    first, _ = contributions(rows, reference, share)
    second, _ = contributions(rows, reference, other)
    assert together == pytest.approx(first + second, rel=1e-9, abs=1e-9)


def test_what_is_not_known_of_a_customer_stays_unknown_in_every_coalition():
    asked = []

    def answer(mixed):
        asked.append(mixed)
        return mixed.numbers["customer_service_calls"]

    known = raw_columns([a_customer(customerServiceCalls=4, totalDayMinutes=200.0)])
    contributions(prepare(known, n_rows=1), prepared({}), answer)
    (mixed,) = asked
    assert set(mixed.numbers["total_day_minutes"]) == {200.0, REFERENCE["total_day_minutes"]}
    assert np.isnan(mixed.numbers["total_eve_minutes"]).all()


def test_many_customers_are_answered_a_few_at_a_time():
    sizes = []

    def answer(mixed):
        sizes.append(mixed.n_rows)
        return mixed.numbers["account_length"]

    # Nobody is like the reference customer in anything.
    unlike = {"areaCode": "408", "internationalPlan": "yes", "customerServiceCalls": 5}
    rows = prepare(raw_columns([with_usage(accountLength=101 + day, **unlike) for day in range(100)]), n_rows=100)
    shares, baseline = contributions(rows, prepared({}), answer)
    assert sizes == [16 * 512] * 6 + [4 * 512]
    assert shares.sum(axis=1) + baseline == pytest.approx(np.arange(101.0, 201.0))


def test_the_model_tells_them_only_when_asked():
    raw = raw_columns([a_customer(internationalPlan="yes"), with_usage(state="OH")])
    assert set(MODEL.infer(raw, n_rows=2)) == {"share", "variant"}
    outputs = MODEL.infer(raw, n_rows=2, wanted=["reasons"])
    assert outputs["reasons"].sum(axis=1) + outputs["reasons_baseline"] == pytest.approx(outputs["share"], abs=1e-12)


def test_the_charges_of_the_reference_customer_follow_from_its_minutes():
    charged = Variant(
        name="only", needs=(), encoding=Encoding(numeric=("total_day_charge",), mean=(0.0,), scale=(1.0,))
    )
    reference = LoadedModel(TOY_DEFINITION, toy_manifest(b"", variants=(charged,)), Tangled()).reference
    assert encode(reference, charged.encoding).item() == pytest.approx(180.0 * 0.17)
