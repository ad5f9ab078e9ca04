"""The door for JSON bodies, with the shapes that the gateway and the model services really have."""

import asyncio
import gc
import json
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from support.builders import a_customer, some_customers, v2_request, with_usage
from telelink_gateway.routes import predictions, what_if
from telelink_shared.field_errors import pointer
from telelink_shared.problem import (
    InvalidInput,
    MalformedJson,
    NotUtf8,
    Problem,
    TooLarge,
    UnsupportedMediaType,
)
from telelink_shared.serving import infer_message
from telelink_shared.web import json_body
from telelink_shared.web.json_body import read_body, validate_json

ONE, MANY, WHAT_IF, V2 = predictions._CUSTOMER, predictions._CUSTOMERS, what_if._REQUEST, infer_message._REQUEST


def problem_of(shape, text):
    with pytest.raises(Problem) as raised:
        validate_json(shape, text if isinstance(text, bytes) else text.encode())
    return raised.value


async def test_a_close_look_at_a_large_body_holds_nobody_up(monkeypatch):
    rows = [json.dumps(with_usage(customerId=f"a:{number}")) for number in range(10_000)]
    body = f"[{', '.join(rows)[:-1]}, {TWICE}}}]".encode()
    value = json_body._value(MANY, body)
    # What is parsed and validated before it is not what this is about.
    monkeypatch.setattr(json_body, "_value", lambda *_: value)
    n_turns = 0

    async def count_turns():
        nonlocal n_turns
        while True:
            await asyncio.sleep(0)
            n_turns += 1

    counting = asyncio.create_task(count_turns())
    with pytest.raises(InvalidInput) as raised:
        await json_body.validate_large_json(MANY, body)
    counting.cancel()
    assert [(error.pointer, error.code) for error in raised.value.errors] == [("/9999/state", "duplicate_name")]
    assert n_turns > 10


def errors_of(shape, text):
    return [(error.pointer, error.code) for error in problem_of(shape, text).errors]


def members(**fields):
    """The text of an object without its braces."""
    return json.dumps(fields)[1:-1]


ONE_CUSTOMER = json.dumps(a_customer())
TWICE = members(state="OH")


@pytest.mark.parametrize(
    ("shape", "text", "pointer"),
    [
        (ONE, f"{{{members(**a_customer())}, {TWICE}}}", "/state"),
        (ONE, f'{{{members(**a_customer())}, "\\u0073tate": "OH"}}', "/state"),
        (ONE, f"{{{members(**a_customer(customerId='a:b'))}, {TWICE}}}", "/state"),
        # An escaped colon in a word must not stand in for the second name's.
        (ONE, f'{{{members(**a_customer())}, "customerId": "a\\u003ab", {TWICE}}}', "/state"),
        (ONE, f'{{{members(**a_customer())}, "accountLength": {"1" * 4000}, "accountLength": 3}}', "/accountLength"),
        (MANY, f"[{ONE_CUSTOMER}, {{{members(**a_customer())}, {TWICE}}}]", "/1/state"),
        (MANY, f"[{f'{ONE_CUSTOMER}, ' * 200}{{{members(**a_customer())}, {TWICE}}}]", "/200/state"),
        (WHAT_IF, f'{{"customer": {{{members(**a_customer())}, {TWICE}}}, "goal": "Low"}}', "/customer/state"),
        (WHAT_IF, f'{{"customer": {ONE_CUSTOMER}, "goal": "Low", "goal": "Low"}}', "/goal"),
        (V2, json.dumps(v2_request([a_customer()])).replace('"shape"', '"name": "x", "shape"', 1), "/inputs/0/name"),
        # Of members that are ignored, too; their names are not ours to tell.
        (V2, json.dumps(v2_request([a_customer()]))[:-1] + ', "canary": {"canary": 1, "canary": 2}}', ""),
    ],
)
def test_a_name_twice_in_one_object_is_refused_with_a_pointer(shape, text, pointer):
    assert errors_of(shape, text) == [(pointer, "duplicate_name")]


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        (ONE, with_usage(customerId="urn:customer:7")),
        (MANY, [with_usage(customerId=f"urn:customer:{number}") for number in range(100)]),
        (MANY, [a_customer(customerId='"state":"OH"')]),
        (WHAT_IF, {"customer": a_customer(), "changes": {"internationalPlan": "yes"}}),
        (V2, v2_request(some_customers(3, seed=1), id="a:b", parameters={"a": {"b": [1, {"c": 2}]}})),
    ],
)
def test_colons_within_words_and_members_that_are_ignored_are_no_second_names(shape, value):
    for text in (json.dumps(value), json.dumps(value, separators=(",", ":"))):
        validate_json(shape, text.encode())


@given(
    st.lists(
        st.tuples(st.sampled_from(["state", "customerId", "totalDayMinutes"]), st.booleans()), min_size=0, max_size=6
    ),
    st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), min_size=1).filter(
        lambda text: len(text) <= 64
    ),
    st.booleans(),
)
def test_exactly_the_bodies_with_a_second_name_are_refused_for_it(extra, identifier, is_ascii):
    value = {"state": "OH", "customerId": identifier, "totalDayMinutes": 1.5}
    fields = a_customer(state=None)
    text = json.dumps(fields, ensure_ascii=is_ascii)[:-1]
    for name, escaped in extra:
        key = "".join(f"\\u{ord(letter):04x}" for letter in name) if escaped else name
        text += f', "{key}": {json.dumps(value[name], ensure_ascii=is_ascii)}'
    body = (text + (', "state": "OH"}' if "state" not in [name for name, _ in extra] else "}")).encode()
    names = [name for name, _ in extra]
    try:
        validate_json(ONE, body)
        refused = False
    except Problem as problem:
        refused = "duplicate_name" in [error.code for error in problem.errors]
    assert refused == (len(set(names)) < len(names))


@pytest.mark.parametrize("shape", [ONE, MANY, WHAT_IF, V2])
@pytest.mark.parametrize("padding", [0, 10_000], ids=["small", "large"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "\ufeff{}",
        "\x00",
        "{} {}",
        "[" * 202 + "]" * 202,
        '{"state": "\\ud800"}',
        '{"state": "\\udc00\\ud800"}',
        '{"state": "a\nb"}',
        "{'state': 1}",
        '{"state": 1,}',
        "{state: 1}",
        "// no\n{}",
        '{"state": ' + "1" * 5_000 + "}",
    ],
)
def test_what_is_not_json_is_refused_as_that(shape, padding, text):
    problem = problem_of(shape, text + " " * padding)
    assert isinstance(problem, MalformedJson)
    assert [error.code for error in problem.errors] == ["json_invalid"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("padding", [0, 10_000], ids=["small", "large"])
def test_what_is_no_finite_number_is_refused_at_its_field(number, padding):
    text = json.dumps(a_customer(totalDayCalls=0)).replace('"totalDayCalls": 0', f'"totalDayCalls": {number}')
    assert errors_of(ONE, text + " " * padding) == [("/totalDayCalls", "finite_number")]
    assert errors_of(MANY, f"[{text}{' ' * padding}]") == [("/0/totalDayCalls", "finite_number")]


@pytest.mark.parametrize("padding", [0, 10_000], ids=["small", "large"])
def test_a_name_that_is_not_known_is_not_repeated_but_the_one_that_was_meant_is_told(padding):
    text = json.dumps({"customer": a_customer() | {"totalDayCall": 1, "canary": 2}, "goal": "Low"})
    problem = problem_of(WHAT_IF, text + " " * padding)
    assert [(error.pointer, error.code) for error in problem.errors] == [("/customer", "extra_forbidden")] * 2
    assert problem.errors[0].message == "has a field that this request does not take; did you mean totalDayCalls?"
    assert problem.errors[1].message == "has a field that this request does not take"


@pytest.mark.parametrize("shape", [ONE, WHAT_IF])
def test_a_body_for_one_customer_with_hundreds_of_values_is_too_large(shape):
    assert isinstance(problem_of(shape, json.dumps({f"field{number}": 0 for number in range(4_000)})), TooLarge)


def cpu_s(shape, body):
    """Seconds of this thread for one body, the best of three, without the collector as in the running server."""
    times = []
    for _ in range(3):
        started = time.thread_time()
        with suppress(Problem):
            validate_json(shape, body)
        times.append(time.thread_time() - started)
    return min(times)


BAD_ROW = b'{"accountLength":1,"state":"XX"}'
GOOD_ROW = ONE_CUSTOMER.encode()


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b",".join([BAD_ROW] * 50_000) + b"]",
        b"[" + b",".join([GOOD_ROW] * 9_999 + [BAD_ROW]) + b"]",
        b"[" + b",".join([GOOD_ROW] * 9_999 + [GOOD_ROW[:-1] + b',"state":"OH"}']) + b"]",
        b"[{}" + b",{}" * 100_000 + b"]",
        b'[{"state":[' + b"[]," * 110_000 + b"0]}]",
        b"[{" + b",".join(b'"%x":0' % number for number in range(230_000)) + b"}]",
        b"[{" + b",".join([b'"state":"OH"'] * 230_000) + b"}]",
        b'["' + rb"\u00e9" * 1_300_000 + b'"]',
        b"[" + b",".join([b"9" * 4_300] * 1_900) + b"]",
        b"[" + b"9" * 8_000_000 + b"]",
    ],
    ids=["50,000 bad", "last bad", "last twice", "empty", "lists", "members", "one member", "text", "digits", "digit"],
)
def test_no_body_holds_the_gateway_up_longer_than_a_good_batch_of_full_size(body):
    good = json.dumps([with_usage(customerId=f"urn:{number}") for number in range(10_000)]).encode()
    assert len(body) < predictions.BATCH_LIMIT_BYTES
    gc.disable()
    try:
        # A good batch is decided on, stored and rendered as well; here it counts with its validation alone.
        assert cpu_s(MANY, body) < 2 * cpu_s(MANY, good)
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs":[' + b"{}," * 3_000_000 + b"{}]}",
        b'{"inputs":[{"data":[' + b"[]," * 120_000 + b"0]}]}",
        b'{"inputs":[{"name":"state","shape":[1],"datatype":"BYTES","data":[' + b"0," * 8_000_000 + b"0]}]}",
        b"{" + b",".join(b'"%x":0' % number for number in range(245_000)) + b"}",
    ],
    ids=["tensors", "lists", "values", "members"],
)
def test_no_body_holds_a_model_service_up_longer_than_a_few_good_batches(body):
    good = json.dumps(v2_request([with_usage()] * 10_000, parameters={})).encode()
    assert len(body) < infer_message.BODY_LIMIT_BYTES
    gc.disable()
    try:
        # A quarter of a million small objects against two hundred thousand numbers.
        assert cpu_s(V2, body) < 12 * cpu_s(V2, good)
    finally:
        gc.enable()


def read(headers, *parts, limit_bytes=100):
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        return messages.pop(0)

    scope = {"type": "http", "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]}
    return asyncio.run(read_body(Request(scope, receive), limit_bytes=limit_bytes))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        {"content-type": "application/json;charset=UTF-8"},
        {"content-type": 'Application/JSON ; charset="utf-8"'},
        {"content-type": "application/vnd.example+json"},
        {"content-type": "application/json", "content-encoding": "identity", "content-length": "4"},
    ],
)
def test_a_body_that_is_announced_as_json_is_read(headers):
    assert read(headers, b"{", b"} ", b"\n") == b"{} \n"


@pytest.mark.parametrize(
    ("headers", "part", "problem"),
    [
        ({"content-type": "text/plain"}, b"{}", UnsupportedMediaType),
        ({"content-type": "application/x-www-form-urlencoded"}, b"{}", UnsupportedMediaType),
        ({"content-type": ""}, b"{}", UnsupportedMediaType),
        ({"content-type": "application/json; charset=utf-16"}, b"{}", UnsupportedMediaType),
        ({"content-type": "application/json; charset=iso-8859-1"}, b"{}", UnsupportedMediaType),
        ({"content-encoding": "gzip"}, b"{}", UnsupportedMediaType),
        ({"content-length": "101"}, b"{}", TooLarge),
        ({"content-length": "9" * 5_000}, b"{}", TooLarge),
        ({}, b" " * 101, TooLarge),
        ({}, b"\xff\xfe{\x00", NotUtf8),
        ({}, b'"\xed\xa0\x80"', NotUtf8),
        ({}, b'"\xc0\xaf"', NotUtf8),
    ],
)
def test_any_other_is_refused_before_it_is_looked_into(headers, part, problem):
    with pytest.raises(problem):
        read(headers, part)


def test_a_body_is_not_read_past_its_limit():
    def parts():
        yield b" " * 60
        yield b" " * 60
        raise AssertionError("asked for more")

    left = parts()

    async def receive():
        return {"type": "http.request", "body": next(left), "more_body": True}

    with pytest.raises(TooLarge):
        asyncio.run(read_body(Request({"type": "http", "headers": []}, receive), limit_bytes=100))


def test_the_names_that_may_be_told_are_those_of_the_schema():
    assert {"state", "totalDayMinutes"} <= ONE.names
    assert {"customer", "changes", "goal", "state", "voiceMailPlan"} <= WHAT_IF.names
    assert pointer(("inputs", 3, "name"), V2.names) == "/inputs/3/name"
    assert pointer(("parameters", "canary", "name"), V2.names) == "/parameters"
