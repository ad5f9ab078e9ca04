"""A job over a line that breaks: everything goes on from where it was."""

import json

import httpx
import pytest

import telelink_score.remote
from telelink_score.errors import GatewayError
from telelink_score.files import pairs_of
from telelink_score.remote import Gateway, RemoteScoring

RESULT = b"scored " * 1_000
SUMMARY = {"customers": 2, "failed": 1, "value_at_risk": 1.5, "tiers": {}, "states": {}}


class FakeGateway:
    """Answers as the gateway does. `faults` are raised or answered, each once, in the place of what is asked for."""

    def __init__(self, **faults):
        self.faults = faults
        self.keys, self.ranges, self.removed = [], [], []
        self.jobs = {}

    def __call__(self, request):
        step = request.method if request.method != "GET" else request.url.path.rsplit("/", 1)[-1]
        body = request.read()
        if self.faults.get(step):
            fault = self.faults[step].pop(0)
            if isinstance(fault, BaseException):
                raise fault
            return fault
        return getattr(self, f"_{step if step in ('POST', 'DELETE', 'result', 'errors', 'summary') else 'job'}")(
            request, body
        )

    def _POST(self, request, body):
        key = request.headers["idempotency-key"]
        self.keys.append(key)
        address = self.jobs.setdefault(key, f"/v1/jobs/{len(self.jobs)}")
        assert int(request.headers["content-length"]) == len(body)
        return httpx.Response(202, headers={"location": address}, json={})

    def _job(self, request, _body):
        if request.url.path not in self.jobs.values():
            return httpx.Response(404, json={"detail": "There is no such job."})
        return httpx.Response(200, json={"state": "succeeded", "rows_done": 3, "failure": None})

    def _result(self, request, _body):
        start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.ranges.append(start)
        # Without it, a result that is another one by now would be put behind the first's beginning.
        assert not start or request.headers["if-range"] == '"1"'
        headers = {"etag": '"1"', "content-length": str(len(RESULT) - start)}
        return httpx.Response(206 if start else 200, headers=headers, stream=httpx.ByteStream(RESULT[start:]))

    def _errors(self, request, _body):
        offset = int(request.url.params["offset"])
        fault = {"line": offset + 2, "field": "state", "code": "unknown_state", "reason": "must be a state, or DC"}
        return httpx.Response(200, json={"errors": [fault], "total": 3, "offset": offset})

    def _summary(self, _request, _body):
        return httpx.Response(200, json=SUMMARY)

    def _DELETE(self, request, _body):
        self.removed.append(request.url.path)
        return httpx.Response(204)


class BreaksOff(httpx.SyncByteStream):
    """A body that ends before it should."""

    def __iter__(self):
        yield RESULT[:1_000]
        raise httpx.ReadError("the line is gone")


def broken_off():
    return httpx.Response(200, headers={"etag": '"1"', "content-length": str(len(RESULT))}, stream=BreaksOff())


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(telelink_score.remote.time, "sleep", lambda _s: None)


@pytest.fixture
def pair(tmp_path):
    (tmp_path / "c.csv").write_text("of no matter here")
    (pair,) = pairs_of(str(tmp_path / "c.csv"), tmp_path / "out.csv", tmp_path / "errors.csv")
    return pair


def run(gateway, pair, *, mapping=None, keep_job=False):
    told, transport = (lambda *_: None), httpx.MockTransport(gateway)
    scoring = RemoteScoring(Gateway("http://gateway", "a-key"), pair, mapping or {}, told, transport=transport)
    return scoring.run(keep_job=keep_job)


def test_result_and_errors_are_there_and_nothing_else_is(pair, tmp_path):
    gateway = FakeGateway()
    outcome = run(gateway, pair)
    assert (outcome.n_rows, outcome.n_failed) == (3, 1)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["c.csv", "errors.csv", "out.csv"]
    assert (tmp_path / "out.csv").read_bytes() == RESULT
    assert (tmp_path / "errors.csv").read_text().splitlines() == [
        "line,field,code,reason",
        *(f'{line},state,unknown_state,"must be a state, or DC"' for line in (2, 3, 4)),
    ]
    assert gateway.removed == ["/v1/jobs/0"]


def test_a_result_keeps_the_mode_of_the_one_of_before(pair, tmp_path):
    (tmp_path / "out.csv").write_text("of before")
    (tmp_path / "out.csv").chmod(0o440)
    with pytest.raises(KeyboardInterrupt):
        run(FakeGateway(result=[broken_off(), KeyboardInterrupt()]), pair)
    run(FakeGateway(), pair)
    assert (tmp_path / "out.csv").read_bytes() == RESULT
    assert (tmp_path / "out.csv").stat().st_mode & 0o777 == 0o440


def test_a_second_command_on_the_same_result_does_not_disturb_the_first(pair, tmp_path):
    gateway, refused = FakeGateway(), []

    def meanwhile(request):
        if request.url.path.endswith("/result"):
            with pytest.raises(BlockingIOError, match="another command is at work on this result"):
                run(FakeGateway(), pair, mapping={"Where": "state"})
            refused.append(True)
        return gateway(request)

    run(meanwhile, pair)
    assert refused == [True]
    assert (tmp_path / "out.csv").read_bytes() == RESULT
    assert sorted(each.name for each in tmp_path.iterdir()) == ["c.csv", "errors.csv", "out.csv"]


def test_a_job_may_be_left_there(pair):
    gateway = FakeGateway()
    run(gateway, pair, keep_job=True)
    assert gateway.removed == []


@pytest.mark.parametrize(
    "fault",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.Response(503, headers={"retry-after": "1"}, json={"detail": "later"}),
        httpx.Response(409, json={"detail": "is being sent just now", "code": "conflict"}),
    ],
    ids=["refused", "reset", "busy", "still being sent"],
)
def test_a_file_that_did_not_get_through_is_sent_again_under_the_same_key(fault, pair):
    gateway = FakeGateway(POST=[fault])
    run(gateway, pair)
    assert len(gateway.jobs) == 1


def test_a_result_that_breaks_off_is_fetched_from_there_on(pair, tmp_path):
    gateway = FakeGateway(result=[broken_off()])
    run(gateway, pair)
    assert gateway.ranges == [1_000]
    assert (tmp_path / "out.csv").read_bytes() == RESULT


def test_a_result_that_is_still_to_be_made_is_asked_for_again(pair, tmp_path):
    later = httpx.Response(
        503, headers={"retry-after": "5"}, json={"code": "unavailable", "detail": "still to be made"}
    )
    run(FakeGateway(result=[later, later]), pair)
    assert (tmp_path / "out.csv").read_bytes() == RESULT


def test_a_command_that_was_interrupted_goes_on_where_it_was(pair, tmp_path):
    gateway = FakeGateway(result=[broken_off(), KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        run(gateway, pair)
    assert not (tmp_path / "out.csv").exists()
    run(gateway, pair)
    assert len(gateway.keys) == 1
    assert gateway.ranges == [1_000]
    assert (tmp_path / "out.csv").read_bytes() == RESULT


@pytest.mark.parametrize("change", ["file", "mapping", "gateway"])
def test_what_was_begun_for_another_file_is_not_gone_on_with(change, pair, tmp_path):
    gateway = FakeGateway(summary=[KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        run(gateway, pair)
    if change == "file":
        pair.customers.write_text("other customers")
    elif change == "gateway":
        path = tmp_path / ".out.csv.job"
        path.write_text(path.read_text().replace("http://gateway", "http://other"))
    run(gateway, pair, mapping={"Where": "state"} if change == "mapping" else None)
    assert len(set(gateway.keys)) == 2


def test_a_job_that_is_gone_is_begun_anew(pair):
    gateway = FakeGateway(summary=[KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        run(gateway, pair)
    gateway.jobs.clear()
    run(gateway, pair)
    assert len(set(gateway.keys)) == 2


def test_damage_to_what_was_kept_is_no_harm(pair, tmp_path):
    (tmp_path / ".out.csv.job").write_text('{"key": ')
    (tmp_path / ".out.csv.part").write_text("of something else")
    run(FakeGateway(), pair)
    assert (tmp_path / "out.csv").read_bytes() == RESULT


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (
            httpx.Response(422, json={"detail": "Not valid.", "errors": [{"pointer": "", "message": "has no header"}]}),
            "Not valid.; has no header",
        ),
        (httpx.Response(401, json={"detail": "Send an API key."}), "Send an API key."),
        (httpx.Response(404, text="<html>"), "it answered 404"),
    ],
)
def test_a_refusal_is_told_in_the_gateways_words(reply, reason, pair):
    with pytest.raises(GatewayError) as error:
        run(FakeGateway(POST=[reply]), pair)
    assert str(error.value) == reason


@pytest.mark.parametrize(
    "fault",
    [
        {"POST": httpx.Response(202, text="<html>")},
        {"POST": httpx.Response(202, headers={"location": "http://["})},
        {"POST": httpx.Response(202, headers={"location": "https://elsewhere/v1/jobs/0"})},
        {"POST": httpx.Response(302, headers={"location": "/login"})},
        {"0": httpx.Response(200, text="<html>")},
        {"0": httpx.Response(200, json=["succeeded"])},
        {"0": httpx.Response(302, headers={"location": "/login"})},
        {"summary": httpx.Response(200, json={"customers": 2})},
        {"errors": httpx.Response(200, content=b"\xff")},
    ],
    ids=str,
)
def test_what_is_no_gateway_is_told_and_is_not_gone_on_with(fault, pair, tmp_path):
    gateway = FakeGateway(**{step: [reply] for step, reply in fault.items()})
    with pytest.raises(GatewayError, match=r"does not answer as a gateway|it answered 302"):
        run(gateway, pair)
    assert [each.name for each in tmp_path.iterdir()] == ["c.csv"]
    run(gateway, pair)
    assert (tmp_path / "out.csv").read_bytes() == RESULT


def test_a_gateway_that_loses_each_job_is_given_up(pair):
    gateway = FakeGateway(**{str(number): [httpx.Response(404, json={"detail": "gone"})] for number in range(9)})
    with pytest.raises(GatewayError, match="does not answer as a gateway"):
        run(gateway, pair)


def test_a_job_that_failed_says_why_and_is_forgotten(pair, tmp_path):
    failed = httpx.Response(200, json={"state": "failed", "rows_done": 0, "failure": "A line is too long."})
    gateway = FakeGateway(**{"0": [failed]})
    with pytest.raises(GatewayError, match=r"^A line is too long\.$"):
        run(gateway, pair)
    assert [each.name for each in tmp_path.iterdir()] == ["c.csv"]


def test_who_does_not_answer_for_long_is_given_up_and_can_be_gone_on_with(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(telelink_score.remote, "_PATIENCE_S", 0.0)
    with pytest.raises(GatewayError, match="does not answer; the same command goes on from here"):
        run(FakeGateway(POST=[httpx.ConnectError("refused")]), pair)
    key = json.loads((tmp_path / ".out.csv.job").read_text())["key"]
    gateway = FakeGateway()
    run(gateway, pair)
    assert gateway.keys == [f'"{key}"']


def test_the_api_key_goes_along(pair):
    seen = []
    gateway = FakeGateway()
    run(lambda request: seen.append(request.headers["authorization"]) or gateway(request), pair)
    assert set(seen) == {"Bearer a-key"}
