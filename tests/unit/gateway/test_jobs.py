"""What jobs are made of: the order of value at risk, the input as a file, who works on what, messages as bytes."""

import asyncio
import io
import json
import random
from array import array
from contextlib import contextmanager

import pytest
from starlette.requests import Request

from support.binary_messages import binary_message, read_tensors
from support.builders import a_customer, with_usage
from telelink_gateway.jobs import worker
from telelink_gateway.jobs.input_file import InputFile
from telelink_gateway.jobs.progress import Progress
from telelink_gateway.jobs.ranking import Wanted, page, parts_of, rank_part, ranking_parts
from telelink_gateway.jobs.results import chosen_media_type, range_of
from telelink_gateway.jobs.sqlite_store import SqliteJobStore
from telelink_gateway.jobs.store import Job, KeyTaken, LeaseLost, Part
from telelink_gateway.settings import Settings
from telelink_gateway.upstream.answer import inputs_of
from telelink_gateway.upstream.binary import binary_inputs, headers_of, json_inputs, read_reply
from telelink_gateway.upstream.failure import Failure
from telelink_shared.bulk.checking import Checker
from telelink_shared.bulk.deciding import decide_all
from telelink_shared.bulk.files import open_source
from telelink_shared.bulk.table import Scored
from telelink_shared.customer import PLAN_VALUES, STATES, Customer, row_of
from telelink_shared.decision import Policy
from telelink_shared.problem import NotAcceptable, RangeNotSatisfiable
from telelink_shared.web.startup import StartupError


def ndjson(customers):
    return "\n".join(map(json.dumps, customers)).encode()


def checked_of(customers):
    source = open_source(io.BytesIO(ndjson(customers)), "ndjson")
    (chunk,) = source.chunks(1_000)
    return Checker(source.layout, is_text=False).check(chunk)


def scored_of(customers, risks, n_rows):
    source = open_source(io.BytesIO(ndjson(customers)), "ndjson")
    checker = Checker(source.layout, is_text=False)
    for chunk in source.chunks(n_rows):
        some = risks[chunk.start.row : chunk.end.row]
        figures = {"churn_probability": some, "churn_lower": some, "churn_upper": some}
        values = [1_000.0] * len(some)
        figures |= {"estimated_clv": values, "clv_lower": values, "clv_upper": values}
        yield Scored(chunk, checker.check(chunk), decide_all(figures, Policy()))


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    """Customers with their risk, and the order that is made of their chunks."""
    chance = random.Random(8)
    customers = [
        a_customer(state=chance.choice(STATES), internationalPlan=chance.choice(PLAN_VALUES)) for _ in range(600)
    ]
    # Few different ones: many are as much at risk as others.
    risks = [chance.choice((0.1, 0.2, 0.3, 0.4)) for _ in customers]
    with opened(tmp_path_factory.mktemp("ranked")) as store:
        made = queued(store)
        claim(store, "a", at_ms=0)
        # More than are held at once, of each.
        runs = [rank_part(scored, number) for number, scored in enumerate(scored_of(customers, risks, 260))]
        store.commit(made, "a", runs, "", until_ms=10)
        store.commit(made, "a", list(ranking_parts(store, made, 600, most=64)), "", until_ms=10)
        yield list(zip(customers, risks, strict=True)), list(parts_of(store, made))


@pytest.mark.parametrize("tier", [None, "Low", "Medium", "High"])
@pytest.mark.parametrize("state", [None, "OH", "WY"])
@pytest.mark.parametrize("plan", [None, "yes", "no"])
def test_rows_are_found_by_what_they_are_in_the_order_of_value_at_risk(ranked, tier, state, plan):
    customers, order = ranked
    tiers = {0.1: "Low", 0.2: "Medium", 0.3: "High", 0.4: "High"}
    wanted = [
        row
        for row, (customer, risk) in sorted(enumerate(customers), key=lambda each: (-each[1][1], each[0]))
        if tier in (None, tiers[risk])
        and state in (None, customer["state"])
        and plan in (None, customer["internationalPlan"])
    ]
    assert page(order, Wanted(tier, state, plan), offset=0, limit=1_000) == (wanted, len(wanted))
    assert page(order, Wanted(tier, state, plan), offset=2, limit=3) == (wanted[2:5], len(wanted))


def test_customers_are_the_same_as_bytes_and_as_json():
    customers = [a_customer(), with_usage(state="OH", totalDayMinutes=None), with_usage()]
    checked = checked_of(customers)
    rows = [row_of(Customer.model_validate(each)) for each in customers]
    assert json_inputs(checked) == inputs_of(rows)
    as_bytes = binary_inputs(checked)
    columns = {
        tensor["name"]: [None if value is None else value for value in tensor["data"]]
        for tensor in json.loads(inputs_of(rows).json)
    }
    head, data = binary_message(columns)
    assert as_bytes.data == data
    assert json.loads(as_bytes.json) == json.loads(head)["inputs"]
    assert headers_of(b"{}")["inference-header-content-length"] == "2"


def reply(*values, size=None, datatype="FP64", more=b""):
    data = array("d", values).tobytes()
    size = len(data) if size is None else size
    head = (
        b'{"model_name":"churn","model_version":"1","outputs":[{"name":"p","shape":[%d],"datatype":"%b",'
        b'"parameters":{"binary_data_size":%d}}]}' % (len(values), datatype.encode(), size)
    )
    return head + data + more, str(len(head))


def test_a_reply_in_bytes_has_the_values_that_it_says():
    body, length = reply(0.25, 0.5)
    assert read_reply(body, length).outputs[0].data == [0.25, 0.5]
    assert read_tensors(body, int(length)) == {"p": [0.25, 0.5]}


@pytest.mark.parametrize(
    ("body", "length"),
    [
        reply(0.25, more=b"x"),
        reply(0.25, size=16),
        reply(0.25, size=7),
        reply(0.25, size=-8),
        reply(0.25, datatype="BYTES"),
        (reply(0.25)[0], "9" * 5_000),
        (reply(0.25)[0], "-1"),
        (reply(0.25)[0], "0"),
        (reply(0.25)[0], "x"),
        (b"[]", "2"),
        (b'{"outputs":[1]}', "15"),
    ],
)
def test_a_reply_that_is_not_what_it_says_is_a_failure(body, length):
    with pytest.raises(Failure) as raised:
        read_reply(body, length)
    assert raised.value.code == "malformed"


@contextmanager
def opened(folder):
    store = SqliteJobStore(folder / "jobs.db")
    store.open()
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def store(tmp_path):
    with opened(tmp_path) as made:
        yield made


def job(number=0, *, key=None, at_ms=None):
    at_ms = number if at_ms is None else at_ms
    return Job(f"{number:032x}", at_ms, None, "csv", "{}", key, None, "uploading", 0, 0, None, None, "", "", "", "")


def queued(store, number=0, **more):
    made = job(number, **more)
    store.begin(made, until_ms=100)
    store.submit(made.id, n_bytes=0, fingerprint=None)
    return made.id


def claim(store, owner, *, at_ms, to_render=False):
    found = store.claim(owner, to_render=to_render, now_ms=at_ms, until_ms=at_ms + 100)
    return None if found is None else found.id


def test_no_job_is_kept_in_a_file_that_was_removed_or_replaced(store, tmp_path):
    lost = queued(store, 1)
    for each in tmp_path.glob("jobs.db*"):
        each.unlink()
    assert store.find(lost) is None
    kept = queued(store, 2)
    with opened(tmp_path) as another:
        assert another.find(kept) is not None
    (tmp_path / "new").write_bytes(b"no database" * 1_000)
    (tmp_path / "new").rename(tmp_path / "jobs.db")
    for _ in range(2):
        with pytest.raises(StartupError):
            queued(store, 3)
    (tmp_path / "jobs.db").unlink()
    assert claim(store, "a", at_ms=0) is None


def test_a_job_has_one_worker_until_its_lease_is_over(store):
    first, second = queued(store, 1), queued(store, 2)
    assert store.has_work(now_ms=0)
    assert [claim(store, owner, at_ms=0) for owner in "abc"] == [first, second, None]
    assert not store.has_work(now_ms=0)
    store.renew(second, "b", until_ms=1_000)
    assert claim(store, "c", at_ms=100) == first
    for late in (
        lambda: store.renew(first, "a", until_ms=1_000),
        lambda: store.commit(first, "a", [], "{}", until_ms=1_000),
        lambda: store.finish(first, "a", "succeeded", [], "{}", now_ms=100),
        lambda: store.rank(first, "a", Part("ranking", 0, 0, 0, 1, b"x"), until_ms=1_000),
    ):
        with pytest.raises(LeaseLost):
            late()
    store.release(first, "a")
    assert claim(store, "d", at_ms=101) is None
    store.release(first, "c")
    assert claim(store, "d", at_ms=101) == first


def test_a_chunk_and_how_far_the_job_is_are_kept_together_or_not_at_all(store):
    made = queued(store)
    claim(store, "a", at_ms=0)
    part = Part("csv", 0, 0, 0, 1, b"x")
    store.commit(made, "a", [part], "one", until_ms=10)
    with pytest.raises(Exception, match="UNIQUE"):
        store.commit(made, "a", [part], "two", until_ms=10)
    assert (store.find(made).progress, store.size(made, "csv")) == ("one", 1)


def test_it_is_known_how_often_workers_died_over_a_chunk(store):
    made = queued(store)
    for owner, at_ms in (("a", 0), ("b", 200), ("c", 400)):
        claim(store, owner, at_ms=at_ms)
    assert store.find(made).n_deaths == 2
    store.release(made, "c")
    claim(store, "d", at_ms=500)
    assert store.find(made).n_deaths == 2
    store.renew(made, "d", until_ms=600)
    assert store.find(made).n_deaths == 2
    store.renew(made, "d", until_ms=600, code="waiting", reason="churn")
    assert store.find(made).n_deaths == 0
    claim(store, "e", at_ms=700)
    assert store.find(made).n_deaths == 1
    store.commit(made, "e", [], "", until_ms=800)
    assert store.find(made).n_deaths == 0
    # Whoever could not release it in an outage has not died.
    claim(store, "e", at_ms=900)
    assert store.find(made).n_deaths == 0


def test_a_format_that_workers_died_over_is_tried_again_when_somebody_asks_again(store):
    made = queued(store)
    claim(store, "a", at_ms=0)
    store.finish(made, "a", "succeeded", [], "{}", now_ms=0)
    store.want(made, "parquet")
    for number in range(3):
        claim(store, f"b{number}", at_ms=200 * number, to_render=True)
    assert store.find(made).n_deaths == 2
    store.made(made, "b2", "parquet")
    store.want(made, "ndjson")
    claim(store, "c", at_ms=900, to_render=True)
    assert store.find(made).n_deaths == 0


def test_an_order_that_somebody_left_half_made_is_made_anew_and_only_by_whose_the_job_is(store):
    made = queued(store)
    for owner, at_ms in (("a", 0), ("b", 200)):
        claim(store, owner, at_ms=at_ms)
        for number in (0, 1):
            store.rank(made, owner, Part("ranking", number, number, 0, 1, owner.encode()), until_ms=at_ms + 100)
    assert store.find(made).n_deaths == 1
    with pytest.raises(LeaseLost):
        store.rank(made, "a", Part("ranking", 0, 0, 0, 1, b"a"), until_ms=1_000)
    assert [store.piece(made, "ranking", number, 0, 1) for number in (0, 1)] == [b"b", b"b"]


async def test_a_job_that_takes_more_memory_than_there_is_fails_by_that_name(store, monkeypatch):
    class Greedy:
        def __init__(self, *_, **__):
            pass

        async def run(self, _should_stop):
            raise MemoryError

    monkeypatch.setattr(worker, "Scoring", Greedy)
    monkeypatch.setattr(worker, "_IDLE_S", 0.2)
    made = queued(store)
    await worker.Worker(Settings(), store, None, None, asyncio.Event()).run()
    assert (store.find(made).state, store.find(made).code) == ("failed", "rows_too_large")


def test_a_cancelled_job_is_nobodys(store):
    made = queued(store)
    claim(store, "a", at_ms=0)
    assert store.cancel(made, now_ms=5)
    assert not store.cancel(made, now_ms=6)
    with pytest.raises(LeaseLost):
        store.commit(made, "a", [], "", until_ms=10)
    assert claim(store, "b", at_ms=1_000) is None


def test_a_key_is_taken_once(store):
    store.begin(job(1, key="k"), until_ms=100)
    with pytest.raises(KeyTaken):
        store.begin(job(2, key="k"), until_ms=100)
    assert store.find_by_key("k").id == job(1).id


def test_a_file_that_never_came_to_its_end_is_removed_and_adds_nothing_more(store):
    store.begin(job(1), until_ms=100)
    store.append(job(1).id, Part("input", 0, 0, 0, 0, b"abc"), until_ms=200)
    queued(store, 2)
    assert store.expire(before_ms=0, now_ms=200) == 0
    assert store.expire(before_ms=0, now_ms=201) == 1
    assert store.count() == 1
    assert store.size(job(1).id, "input") == 0
    with pytest.raises(LeaseLost):
        store.append(job(1).id, Part("input", 1, 3, 0, 0, b"def"), until_ms=300)


def test_an_upload_that_is_slow_is_kept_as_long_as_something_comes(store):
    store.begin(job(1, at_ms=0), until_ms=100)
    store.keep_upload(job(1).id, until_ms=300)
    assert store.expire(before_ms=0, now_ms=200) == 0
    assert store.expire(before_ms=0, now_ms=301) == 1
    with pytest.raises(LeaseLost):
        store.keep_upload(job(1).id, until_ms=400)


def test_the_input_is_read_as_the_file_that_it_was(store):
    body = random.Random(1).randbytes(10_000)
    store.begin(job(), until_ms=100)
    for number in range(10):
        start = number * 1_000
        store.append(job().id, Part("input", number, start, 0, 0, body[start : start + 1_000]), until_ms=100)
    file = InputFile(store, job().id, len(body))
    buffered = io.BufferedReader(file)
    assert buffered.read() == body
    assert file.share == 1.0
    for start, n_bytes in ((0, 5), (990, 30), (9_999, 9), (10_000, 1), (3_000, 4_000)):
        buffered.seek(start)
        assert buffered.read(n_bytes) == body[start : start + n_bytes]
    buffered.seek(-7, io.SEEK_END)
    assert buffered.read() == body[-7:]


def test_the_time_left_follows_from_the_share_that_is_done():
    assert Progress(row=1_000, share=0.25, rows_per_s=100).seconds_left == 30
    assert Progress(row=1_000, share=0.25).seconds_left is None


def request(**headers):
    return Request({"type": "http", "headers": [(name.encode(), value.encode()) for name, value in headers.items()]})


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("*/*", "a/x"),
        ("a/y", "a/y"),
        ("a/x;q=0.1, a/y", "a/y"),
        ("a/*;q=0.5, a/x;q=0", "a/y"),
        ("text/html, */*;q=0.1", "a/x"),
    ],
)
def test_a_media_type_is_chosen_as_the_client_likes_it(accept, chosen):
    assert chosen_media_type(request(accept=accept), ("a/x", "a/y")) == chosen


@pytest.mark.parametrize("accept", ["b/x", "a/x;q=0", "a/x;q=nonsense"])
def test_a_client_that_likes_none_of_them_is_told(accept):
    with pytest.raises(NotAcceptable):
        chosen_media_type(request(accept=accept), ("a/x",))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-", (2, 10)),
        ("bytes=2-99", (2, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),
        ("bytes=-", None),
        ("bytes=5-4", None),
        ("bytes=1-2,4-5", None),
        ("rows=1-2", None),
    ],
)
def test_a_range_is_understood(asked, told):
    assert range_of(request(range=asked), 10, etag='"e"') == told


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=-0"])
def test_a_range_that_is_not_there_is_refused(asked):
    with pytest.raises(RangeNotSatisfiable):
        range_of(request(range=asked), 10, etag='"e"')
