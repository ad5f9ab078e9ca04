"""One of the two models, as the rest of the gateway asks it: one customer together with others, or many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from operator import is_
from typing import NamedTuple

from telelink_gateway.upstream.answer import Answer, Inputs, inputs_of
from telelink_gateway.upstream.batching import Batcher
from telelink_gateway.upstream.client import ModelClient, Refused
from telelink_shared.customer import Row
from telelink_shared.problem import ModelUnavailable, Overloaded, Unavailable
from telelink_shared.web.request_id import RequestIds, current_ids

AnswerOrProblem = Answer | Unavailable


class _Question(NamedTuple):
    row: Row
    ids: RequestIds


class LastInputs:
    """Encodes customers: the same ones once for both models, who are as a rule asked about them one after the other."""

    def __init__(self) -> None:
        self._last: tuple[Sequence[Row], Inputs] = (), Inputs(b"[]", 0)

    def __call__(self, rows: Sequence[Row]) -> Inputs:
        """The inputs for these customers."""
        last, inputs = self._last
        if len(rows) != len(last) or not all(map(is_, rows, last)):
            inputs = inputs_of(rows)
            self._last = rows, inputs
        return inputs


class Model:
    """A model service behind its client, with a batcher for single customers.

    Args:
        encode: makes the inputs for those who are asked about together.
    """

    def __init__(self, client: ModelClient, encode: Callable[[Sequence[Row]], Inputs] = inputs_of) -> None:
        self.client = client
        self._encode = encode
        self._batcher: Batcher[_Question, AnswerOrProblem] = Batcher(
            self._answer, refused=self._overloaded, expired=self._too_late
        )

    def _overloaded(self) -> Overloaded:
        self.client.metrics.shed.labels(self.client.service.name).inc()
        return Overloaded(
            "More requests are waiting than can be answered. Try again in a few seconds.", retry_after_s=2
        )

    def _too_late(self) -> ModelUnavailable:
        return self.client.unavailable("timeout", "no answer within the deadline", {})

    def ask(self, row: Row, *, deadline: float) -> asyncio.Future[AnswerOrProblem]:
        """The outputs for one customer, asked for together with whoever else asks now.

        Args:
            deadline: on the event loop's clock; the answer, or why there is none, is there by then.
        """
        if self.client.breaker.state != "closed":
            told: asyncio.Future[AnswerOrProblem] = asyncio.get_running_loop().create_future()
            told.set_result(self.client.not_asked())
            return told
        return self._batcher.ask(_Question(row, current_ids()), deadline=deadline)

    async def ask_many(self, inputs: Inputs, *, deadline: float, with_reasons: bool = False) -> AnswerOrProblem:
        """The outputs for many customers, in one call of their own: all of them or none."""
        headers = current_ids().forwarded()
        try:
            answer = await self.client.infer(inputs, headers=headers, deadline=deadline, with_reasons=with_reasons)
        except Refused:
            return self.client.unavailable("refused", "the service refused the customers", headers)
        except ModelUnavailable as problem:
            return problem
        if answer.invalid:
            return self.client.unavailable("values", f"invalid values in {len(answer.invalid)} rows", headers)
        return answer

    async def _answer(self, questions: Sequence[_Question], deadline: float) -> Sequence[AnswerOrProblem]:
        """An answer to each. A customer that the service refuses, or has no valid answer to, harms no other."""
        answers = await self._answer_together(questions, deadline)
        return await self._answer_apart(questions, deadline) if answers is None else answers

    async def _answer_together(
        self, questions: Sequence[_Question], deadline: float
    ) -> Sequence[AnswerOrProblem] | None:
        """None when the service refuses one of them."""
        inputs = self._encode([question.row for question in questions])
        try:
            # Under the ids of the one that has waited longest: a call has room for one request.
            answer = await self.client.infer(inputs, headers=questions[0].ids.forwarded(), deadline=deadline)
        except ModelUnavailable as problem:
            # Each its own: an exception that several raise gathers all their traces.
            return [ModelUnavailable(problem.detail, retry_after_s=problem.retry_after_s) for _ in questions]
        except Refused:
            return None
        return [
            self.client.unavailable("values", "invalid values", question.ids.forwarded())
            if position in answer.invalid
            else answer.of_row(position)
            for position, question in enumerate(questions)
        ]

    async def _answer_apart(self, questions: Sequence[_Question], deadline: float) -> Sequence[AnswerOrProblem]:
        """Halved until each that is refused stands alone: at most two calls for each, and as many probes."""
        if len(questions) == 1:
            return [self.client.unavailable("refused", "the service refused it", questions[0].ids.forwarded())]
        middle = len(questions) // 2
        halves = (questions[:middle], questions[middle:])
        return [answer for half in halves for answer in await self._answer(half, deadline)]
