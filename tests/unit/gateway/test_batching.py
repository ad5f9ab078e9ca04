"""Single questions are gathered into calls, and nobody's fate is another's."""

import asyncio
from contextvars import ContextVar

import pytest

from telelink_gateway.upstream import batching
from telelink_gateway.upstream.batching import MAX_CALLS, MAX_QUESTIONS_PER_CALL, MAX_WAITING, Batcher


class Service:
    """Answers `question * 10` when it is told to."""

    def __init__(self):
        self.calls = []
        self.deadlines = []
        self._open = asyncio.Semaphore(0)
        self.batcher = Batcher(self.send, refused=lambda: "refused", expired=lambda: "expired")

    async def send(self, questions, deadline):
        self.calls.append(list(questions))
        self.deadlines.append(deadline)
        await self._open.acquire()
        return [question * 10 for question in questions]

    def ask(self, question, *, deadline=1e9):
        return self.batcher.ask(question, deadline=deadline)

    def answer(self, n_calls=1):
        for _ in range(n_calls):
            self._open.release()


@pytest.fixture
async def service():
    return Service()


async def turn():
    """Let all that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_first_question_is_sent_at_once(service):
    reply = service.ask(1)
    await turn()
    assert service.calls == [[1]]
    service.answer()
    assert await reply == 10


async def test_questions_of_one_turn_go_together_in_their_order(service):
    replies = [service.ask(number) for number in range(5)]
    await turn()
    assert service.calls == [[0, 1, 2, 3, 4]]
    service.answer()
    assert await asyncio.gather(*replies) == [0, 10, 20, 30, 40]


async def test_what_comes_in_during_a_call_goes_with_the_next(service):
    first = service.ask(1)
    await turn()
    others = [service.ask(number) for number in (2, 3)]
    await turn()
    assert service.calls == [[1]]
    service.answer()
    assert await first == 10
    await turn()
    assert service.calls == [[1], [2, 3]]
    service.answer()
    assert await asyncio.gather(*others) == [20, 30]


async def test_a_full_batch_waits_for_no_call_to_end(service):
    service.ask(0)
    await turn()
    for number in range(MAX_QUESTIONS_PER_CALL):
        service.ask(number)
    await turn()
    assert [len(call) for call in service.calls] == [1, MAX_QUESTIONS_PER_CALL]
    service.answer(2)


async def test_a_call_never_has_more_than_its_limit_and_the_rest_follows(service):
    replies = [service.ask(number) for number in range(2 * MAX_QUESTIONS_PER_CALL + 1)]
    service.answer(3)
    assert await asyncio.gather(*replies) == [number * 10 for number in range(2 * MAX_QUESTIONS_PER_CALL + 1)]
    assert max(len(call) for call in service.calls) <= MAX_QUESTIONS_PER_CALL


async def test_behind_a_slow_call_nobody_waits_for_its_end(service, monkeypatch):
    monkeypatch.setattr(batching, "PATIENCE_S", 0.0)
    service.ask(1)
    await turn()
    late = service.ask(2)
    await turn()
    assert service.calls == [[1], [2]]
    service.answer(2)
    assert await late == 20


async def test_there_are_never_more_calls_than_the_limit(service, monkeypatch):
    monkeypatch.setattr(batching, "PATIENCE_S", 0.0)
    for number in range(MAX_CALLS + 3):
        service.ask(number)
        await turn()
    assert len(service.calls) == MAX_CALLS
    service.answer(MAX_CALLS + 3)


async def test_whoever_gives_up_is_left_out_and_harms_no_other(service):
    service.ask(0)
    await turn()
    gone, stays = service.ask(1), service.ask(2)
    gone.cancel()
    service.answer(2)
    assert await stays == 20
    assert service.calls == [[0], [2]]


async def test_giving_up_during_the_call_harms_no_other(service):
    gone, stays = service.ask(1), service.ask(2)
    await turn()
    gone.cancel()
    service.answer()
    assert await stays == 20


async def test_a_full_queue_refuses_at_once(service):
    service.ask(0)
    await turn()
    for number in range(MAX_CALLS * MAX_QUESTIONS_PER_CALL):
        service.ask(number)
        if number % MAX_QUESTIONS_PER_CALL == 0:
            await turn()
    await turn()
    waiting = [service.ask(number) for number in range(MAX_WAITING + MAX_QUESTIONS_PER_CALL)]
    assert waiting[-1].done()
    assert await waiting[-1] == "refused"
    assert not waiting[0].done()
    service.answer(10_000)
    await waiting[0]


def soon(within_s=0.01):
    return asyncio.get_running_loop().time() + within_s


async def test_a_question_that_could_not_be_sent_by_its_deadline_is_told_so(service, monkeypatch):
    monkeypatch.setattr(batching, "MAX_CALLS", 1)
    service.ask(1)
    await turn()
    late = service.ask(2, deadline=soon())
    assert await late == "expired"
    service.answer()
    await turn()
    assert service.calls == [[1]]


async def test_nobody_waits_beyond_the_own_deadline_for_a_call_that_others_still_wait_for(service):
    short, long = service.ask(1, deadline=soon()), service.ask(2)
    await turn()
    assert service.deadlines == [1e9]
    assert await short == "expired"
    assert not long.done()
    service.answer()
    assert await long == 20


async def test_who_is_too_late_already_takes_no_place_from_those_who_are_not(service, monkeypatch):
    monkeypatch.setattr(batching, "MAX_CALLS", 1)
    service.ask(1)
    await turn()
    late, in_time = service.ask(2, deadline=soon(0.0)), service.ask(3)
    service.answer(2)
    assert await in_time == 30
    assert await late == "expired"
    assert service.calls == [[1], [3]]


async def test_more_than_one_batch_in_one_turn_is_sent_at_once_as_far_as_it_is_full(service):
    for number in range(2 * MAX_QUESTIONS_PER_CALL + 5):
        service.ask(number)
    await turn()
    assert [len(call) for call in service.calls] == [MAX_QUESTIONS_PER_CALL] * 2
    service.answer(3)


async def test_a_call_runs_in_no_requests_context():
    seen = []
    variable = ContextVar("variable", default="none")

    async def send(questions, _deadline):
        seen.append(variable.get())
        return questions

    batcher = Batcher(send, refused=lambda: None, expired=lambda: None)
    variable.set("of a request")
    await batcher.ask(1, deadline=1e9)
    assert seen == ["none"]


async def test_a_bug_in_the_call_reaches_all_who_wait_for_it_and_none_after():
    calls = []

    async def send(questions, _deadline):
        calls.append(questions)
        if len(calls) == 1:
            raise ZeroDivisionError
        return questions

    batcher = Batcher(send, refused=lambda: None, expired=lambda: None)
    doomed = [batcher.ask(number, deadline=1e9) for number in (1, 2)]
    assert [type(each) for each in await asyncio.gather(*doomed, return_exceptions=True)] == [ZeroDivisionError] * 2
    assert await batcher.ask(3, deadline=1e9) == 3


async def test_whoever_got_no_reply_in_time_is_told_so_once_and_whoever_gave_up_never(monkeypatch):
    monkeypatch.setattr(batching, "MAX_CALLS", 1)
    go, n_expired = asyncio.Event(), 0

    async def send(questions, _deadline):
        await go.wait()
        return questions

    def expired():
        nonlocal n_expired
        n_expired += 1
        return "expired"

    batcher = Batcher(send, refused=lambda: None, expired=expired)
    first = batcher.ask(1, deadline=1e9)
    await turn()
    late, gone = batcher.ask(2, deadline=soon()), batcher.ask(3, deadline=soon())
    gone.cancel()
    assert await late == "expired"
    # Both are still in the queue, and are left out when their turn comes.
    after = batcher.ask(4, deadline=1e9)
    go.set()
    assert await asyncio.gather(first, after) == [1, 4]
    assert n_expired == 1
