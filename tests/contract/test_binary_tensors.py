"""Tensors as bytes, against the same services as JSON: the same answers, bit for bit, and the same refusals."""

import hashlib
import json
import math

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import telelink_churn.app
import telelink_clv.app
from support.binary_messages import HEADER, as_bytes, binary_message, read_tensors
from support.builders import CHURN_MODELS, CLV_MODELS, a_customer, raw_columns, some_customers, v2_request
from telelink_churn.definition import CHURN
from telelink_clv.definition import CLV
from telelink_shared.customer import CATEGORIES, ELEVEN, STATES
from telelink_shared.serving.infer_message import MAX_BINARY_ROWS

DEFINITIONS = {"churn": CHURN, "clv": CLV}


@pytest.fixture(scope="module", params=sorted(DEFINITIONS))
def service(request):
    if request.param == "churn":
        app = telelink_churn.app.create_app(telelink_churn.app.Settings(models_dir=CHURN_MODELS))
    else:
        app = telelink_clv.app.create_app(telelink_clv.app.Settings(models_dir=CLV_MODELS))
    with TestClient(app) as client:
        yield client, DEFINITIONS[request.param]


def post(service, head, data=b"", *, length=None, **headers):
    client, definition = service
    headers = {HEADER: str(len(head) if length is None else length)} | headers
    return client.post(f"/v2/models/{definition.name}/infer", content=head + data, headers=headers)


def answers(reply):
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/octet-stream"
    return read_tensors(reply.content, int(reply.headers[HEADER]))


def as_json(service, columns, outputs):
    client, definition = service
    inputs = [
        {
            "name": name,
            "shape": [len(values)],
            "datatype": "BYTES" if name in CATEGORIES else "FP64",
            "data": [None if value is None or value != value else value for value in values],
        }
        for name, values in columns.items()
    ]
    body = {"inputs": inputs, "outputs": [{"name": name} for name in outputs]}
    reply = client.post(f"/v2/models/{definition.name}/infer", content=json.dumps(body))
    return reply, {tensor["name"]: tensor["data"] for tensor in reply.json().get("outputs", ())}


def fault(reply, status=422):
    """Code and pointer of the first fault."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    return [(error["code"], error["pointer"]) for error in reply.json().get("errors", ())]


def test_the_extension_is_advertised(service):
    client, _ = service
    assert "binary_tensor_data" in client.get("/v2").json()["extensions"]


def test_these_tests_write_what_the_client_of_triton_writes():
    columns = {name: values for name, values in raw_columns([a_customer()]).items() if name in ELEVEN}
    head, data = binary_message(columns, outputs=["churn_probability", "variant"], id="r1")
    # Of what tritonclient 2.73.0 made of this customer: InferenceServerClient.generate_request_body.
    written = "e5aff305205dbbc3917a7d212aeecc34e6fdd77690b2ffa2ff38129ca8fca4f7"
    assert (len(head), hashlib.sha256(head + data).hexdigest()) == (1182, written)


numbers = st.floats(0, 10_000) | st.integers(0, 300).map(float)
rows = st.fixed_dictionaries(
    {
        "state": st.sampled_from(STATES) | st.just(" oh "),
        "area_code": st.sampled_from(["408", "415", "510", "area_code_415"]),
        "international_plan": st.sampled_from(["yes", "no", "True.", "FALSE"]),
        "voice_mail_plan": st.sampled_from(["yes", "no"]),
        **{name: numbers for name in ELEVEN if name not in CATEGORIES},
        **{f"total_{period}_minutes": numbers | st.just(math.nan) for period in ("day", "eve", "night", "intl")},
        "total_day_charge": st.floats(0, 100) | st.just(math.nan),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rows, min_size=1, max_size=12))
def test_bytes_and_json_have_the_same_answers_bit_for_bit(service, customers):
    _, definition = service
    columns = {name: [customer[name] for customer in customers] for name in customers[0]}
    outputs = [*(output.name for output in definition.outputs), "variant", "reasons", "reasons_baseline"]
    _, expected = as_json(service, columns, outputs)
    found = answers(post(service, *binary_message(columns, outputs=outputs)))
    for name in outputs:
        assert [None if value != value else value for value in found[name]] == expected[name], name


def test_many_rows_have_the_answers_that_they_have_as_json(service):
    _, definition = service
    columns = raw_columns(some_customers(3_000, seed=5))
    _, expected = as_json(service, columns, definition.standard_outputs)
    found = answers(post(service, *binary_message(columns)))
    assert {name: [None if value != value else value for value in values] for name, values in found.items()} == expected


def test_an_output_may_come_as_json_beside_another_as_bytes(service):
    _, definition = service
    head, data = binary_message(raw_columns([a_customer()]))
    message = json.loads(head)
    main = definition.main_output.name
    message["outputs"] = [{"name": "variant", "parameters": {"binary_data": False}}, {"name": main}]
    reply = post(service, json.dumps(message).encode(), data)
    tensors = json.loads(reply.content[: int(reply.headers[HEADER])])["outputs"]
    assert ["data" in tensor for tensor in tensors] == [True, False]
    assert answers(reply)["variant"] == ["eleven"]


def test_bytes_may_be_asked_for_by_a_request_that_has_none(service):
    client, definition = service
    body = v2_request([a_customer()], parameters={"binary_data_output": True})
    reply = client.post(f"/v2/models/{definition.name}/infer", content=json.dumps(body))
    assert tuple(answers(reply)) == definition.standard_outputs


def test_a_request_with_bytes_is_answered_as_json_unless_it_asks_for_bytes(service):
    head, data = binary_message(raw_columns([a_customer()]))
    message = {"inputs": json.loads(head)["inputs"], "id": "abc"}
    reply = post(service, json.dumps(message).encode(), data)
    assert (reply.headers["content-type"], reply.json()["id"]) == ("application/json", "abc")
    assert HEADER not in reply.headers


def test_some_inputs_may_be_in_the_message_and_others_behind_it(service):
    columns = raw_columns([a_customer(), a_customer(customerServiceCalls=7)])
    head, data = binary_message(columns)
    message = json.loads(head)
    (position,) = (at for at, tensor in enumerate(message["inputs"]) if tensor["name"] == "customer_service_calls")
    size = message["inputs"][position].pop("parameters")["binary_data_size"]
    message["inputs"][position]["data"] = columns["customer_service_calls"]
    before = sum(tensor["parameters"]["binary_data_size"] for tensor in message["inputs"][:position])
    rest = data[:before] + data[before + size :]
    assert post(service, json.dumps(message).encode(), rest).content == post(service, head, data).content


@pytest.mark.parametrize(
    "datatypes",
    [{"area_code": "INT64"}, {"area_code": "FP64"}, {"account_length": "INT32"}, {"total_day_calls": "FP32"}],
    ids=lambda each: "-".join(*each.items()),
)
def test_other_datatypes_mean_the_same(service, datatypes):
    columns = raw_columns([a_customer(), a_customer(areaCode="510", totalDayCalls=33)])
    expected = post(service, *binary_message(columns)).content
    ((name, datatype),) = datatypes.items()
    cast = float if datatype.startswith("FP") else int
    columns = columns | {name: [cast(value) for value in columns[name]]}
    assert post(service, *binary_message(columns, datatypes=datatypes)).content == expected


def test_truth_values_are_plans_and_no_numbers(service):
    columns = raw_columns([a_customer(), a_customer(internationalPlan="yes")])
    expected = post(service, *binary_message(columns)).content
    spelled = columns | {"international_plan": [False, True]}
    head, data = binary_message(spelled, datatypes={"international_plan": "BOOL"})
    assert post(service, head, data).content == expected
    head, data = binary_message(columns | {"total_day_calls": [True, False]}, datatypes={"total_day_calls": "BOOL"})
    ((code, pointer),) = fault(post(service, head, data))
    assert (code, pointer.endswith("/data")) == ("bad_value", True)


def with_value(name, value):
    """A request for two customers of whom the second has this value."""
    columns = raw_columns([a_customer(), a_customer()])
    columns[name] = [columns[name][0], value]
    return columns


@pytest.mark.parametrize(
    ("name", "value"),
    [("state", "??"), ("state", ""), ("area_code", "999"), ("total_day_calls", 1e10), ("total_day_calls", None)],
)
def test_a_value_that_cannot_be_is_refused_in_the_words_that_json_has(service, name, value):
    columns = with_value(name, value)
    reply, _ = as_json(service, columns, ["variant"])
    refused = post(service, *binary_message(columns))
    assert fault(refused) == fault(reply)
    assert refused.json()["detail"] == reply.json()["detail"]


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinity_is_refused(service, value):
    assert fault(post(service, *binary_message(with_value("total_day_calls", value))))


def changed(change, *, of="state"):
    """The documented customer's request with one of its tensors changed, and the bytes that follow."""
    head, data = binary_message(raw_columns([a_customer()]))
    message = json.loads(head)
    (tensor,) = (tensor for tensor in message["inputs"] if tensor["name"] == of)
    change(tensor)
    return json.dumps(message).encode(), data


@pytest.mark.parametrize("size", [-1, 5, 7, 10**18, 6.0, "6", True, [6], {}])
def test_a_size_that_is_not_that_of_the_tensor_is_refused(service, size):
    head, data = changed(lambda tensor: tensor["parameters"].update(binary_data_size=size))
    assert post(service, head, data).status_code in (400, 422)


@pytest.mark.parametrize("shape", [[0], [2], [1_000_000], [1, 2], [1, 1, 1], [-1], []])
def test_a_shape_that_does_not_fit_the_bytes_is_refused(service, shape):
    head, data = changed(lambda tensor: tensor.update(shape=shape))
    assert fault(post(service, head, data))


@pytest.mark.parametrize("length", ["", "-1", "x", "1e3", "99999999999999999999", "1.0", "²"])
def test_a_length_that_is_none_is_refused(service, length):
    head, data = binary_message(raw_columns([a_customer()]))
    assert post(service, head, data, length=length.encode()).status_code == 400


@pytest.mark.parametrize("moved_by", [-1, 1, -100])
def test_a_length_that_is_not_that_of_the_message_is_refused(service, moved_by):
    head, data = binary_message(raw_columns([a_customer()]))
    assert post(service, head, data, length=len(head) + moved_by).status_code in (400, 422)


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda _: b""])
def test_more_or_fewer_bytes_than_there_should_be_are_refused(service, change):
    head, data = binary_message(raw_columns([a_customer()]))
    assert post(service, head, change(data)).status_code in (400, 422)


def test_data_given_twice_or_not_at_all_are_refused(service):
    assert fault(post(service, *changed(lambda tensor: tensor.update(data=["OH"]))))[0][0] == "duplicate_data"
    assert fault(post(service, *changed(lambda tensor: tensor.pop("parameters"))))[0][0] == "missing"


@pytest.mark.parametrize("word", [b"\xff\xfe", b"\xed\xa0\x80"])
def test_words_that_are_not_utf8_are_refused(service, word):
    head, data = binary_message(raw_columns([a_customer()]))
    assert fault(post(service, head, data.replace(as_bytes(["CA"], "BYTES"), b"\2\0\0\0" + word[:2])))


def test_a_message_that_is_not_utf8_or_no_json_is_refused(service):
    assert post(service, b'{"\xff": 1}').status_code == 400
    assert post(service, b"{").status_code == 400
    assert post(service, b"").status_code == 400


def test_a_name_given_twice_in_the_message_is_refused(service):
    head, data = binary_message(raw_columns([a_customer()]))
    assert fault(post(service, head.replace(b'"inputs"', b'"id":"a","id":"b","inputs"', 1), data))


@pytest.mark.parametrize("flag", [1, "true", None, [], 0.5])
def test_a_flag_that_is_neither_true_nor_false_is_refused(service, flag):
    head, data = binary_message(raw_columns([a_customer()]))
    message = json.loads(head) | {"parameters": {"binary_data_output": flag}}
    assert fault(post(service, json.dumps(message).encode(), data)) == [("bool_type", "/parameters/binary_data_output")]
    message |= {"parameters": {}, "outputs": [{"name": "variant", "parameters": {"binary_data": flag}}]}
    pointer = "/outputs/0/parameters/binary_data"
    assert fault(post(service, json.dumps(message).encode(), data)) == [("bool_type", pointer)]


def test_more_rows_than_are_taken_at_once_are_refused(service):
    columns = {name: values * (MAX_BINARY_ROWS + 1) for name, values in raw_columns([a_customer()]).items()}
    assert post(service, *binary_message(columns)).status_code == 413
    columns = {name: values[:MAX_BINARY_ROWS] for name, values in columns.items()}
    assert len(answers(post(service, *binary_message(columns)))) == len(service[1].standard_outputs)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), max_size=4))
def test_damaged_messages_are_answered_or_refused_but_never_a_bug(service, more, damage):
    head, data = binary_message(raw_columns([a_customer(), a_customer()]))
    body = bytearray(head + data + more)
    for at, value in damage:
        if at < len(body):
            body[at] = value
    assert post(service, bytes(body), length=len(head)).status_code in (200, 400, 413, 422)
