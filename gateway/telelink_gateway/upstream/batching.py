"""Gathers single questions into one call: what comes in while a call is under way goes with the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextvars import Context
from dataclasses import dataclass
from itertools import chain
from typing import Final, Generic, TypeVar

from telelink_gateway.deadlines import Deadlines

Question = TypeVar("Question")
Reply = TypeVar("Reply")

MAX_QUESTIONS_PER_CALL: Final = 64
# More than a service answers within a deadline: whoever comes on top of these is better told at once.
MAX_WAITING: Final = 2_048
MAX_CALLS: Final = 8
# A call that takes longer than this is a slow one, and no reason for others to wait for its end.
PATIENCE_S: Final = 0.02
# How much the last call counts in the usual time of a call.
_WEIGHT: Final = 0.1


@dataclass(eq=False)
class _Waiting(Generic[Question, Reply]):
    question: Question
    deadline: float
    reply: asyncio.Future[Reply]

    def settle(self, reply: Reply) -> None:
        if not self.reply.done():
            self.reply.set_result(reply)


class Batcher(Generic[Question, Reply]):
    """Micro-batching for one service.

    A batch is sent at once when no call is under way; otherwise when one returns, when a batch is full, or when the
    calls under way turn out to be slow. Nobody waits for a batch to fill up, and nobody beyond the own deadline.

    Args:
        send: answers a batch by the latest deadline of its members, with a reply for each question in their order. It
            never raises: a failure is a reply too, so that each member gets its own.
        refused, expired: make the reply to a question that is not taken in, or has none by its deadline.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Question], float], Awaitable[Sequence[Reply]]],
        *,
        refused: Callable[[], Reply],
        expired: Callable[[], Reply],
    ) -> None:
        self._send = send
        self._refused = refused
        self._expired = expired
        self._waiting: deque[_Waiting[Question, Reply]] = deque()
        self._calls: dict[asyncio.Task[None], Sequence[_Waiting[Question, Reply]]] = {}
        self._is_starting = False
        self._patience: asyncio.TimerHandle | None = None
        self._deadlines = Deadlines(self._all_waiting, self._expire)
        self._usual_call_s = 0.0

    def ask(self, question: Question, *, deadline: float) -> asyncio.Future[Reply]:
        """The reply to a question, at the latest at its deadline on the event loop's clock."""
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Reply] = loop.create_future()
        if len(self._waiting) >= MAX_WAITING:
            reply.set_result(self._refused())
            return reply
        self._waiting.append(_Waiting(question, deadline, reply))
        self._deadlines.note(deadline)
        if not self._calls or len(self._waiting) >= MAX_QUESTIONS_PER_CALL:
            self._start_soon(loop)
        else:
            self._be_patient(loop)
        return reply

    def _start_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._is_starting:
            # Not now but after one more turn of the loop: who comes in with this one, or is there already to be read,
            # goes along. At 64 connections that halves the calls (23 instead of 40 for 1,000 requests); alone it costs
            # a turn.
            self._is_starting = True
            loop.call_soon(loop.call_soon, self._start)

    def _be_patient(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._patience is None:
            self._patience = loop.call_later(PATIENCE_S, self._lose_patience)

    def _lose_patience(self) -> None:
        self._patience = None
        self._start()

    def _start(self) -> None:
        """Send what waits: one batch, and as many more as are full."""
        self._is_starting = False
        loop = asyncio.get_running_loop()
        is_first = True
        while self._waiting and len(self._calls) < MAX_CALLS:
            if not is_first and len(self._waiting) < MAX_QUESTIONS_PER_CALL:
                break
            is_first = False
            if batch := self._next_batch(loop.time()):
                # In a context of its own: a call belongs to no single request, whichever made it start.
                call = loop.create_task(self._call(batch), context=Context())
                self._calls[call] = batch
                call.add_done_callback(self._ended, context=Context())
        if self._waiting:
            self._be_patient(loop)

    def _next_batch(self, now: float) -> list[_Waiting[Question, Reply]]:
        batch: list[_Waiting[Question, Reply]] = []
        while self._waiting and len(batch) < MAX_QUESTIONS_PER_CALL:
            member = self._waiting.popleft()
            if member.reply.done() or member.deadline - now < self._usual_call_s:
                # Too late already: under overload the service's time goes to those who can still be answered.
                if not member.reply.done():
                    member.settle(self._expired())
            else:
                batch.append(member)
        return batch

    async def _call(self, batch: Sequence[_Waiting[Question, Reply]]) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        deadline = max(member.deadline for member in batch)
        try:
            replies = await self._send([member.question for member in batch], deadline)
            for member, reply in zip(batch, replies, strict=True):
                member.settle(reply)
        except asyncio.CancelledError:  # the end of the process
            for member in batch:
                member.reply.cancel()
            raise
        except Exception as error:  # a bug: it belongs to those who wait for this call
            for member in batch:
                if not member.reply.done():
                    member.reply.set_exception(error)
        self._usual_call_s += _WEIGHT * (min(loop.time() - started, PATIENCE_S) - self._usual_call_s)

    def _all_waiting(self) -> Iterator[tuple[_Waiting[Question, Reply], float]]:
        """In the queue or in a call."""
        for member in chain(self._waiting, *self._calls.values()):
            if not member.reply.done():
                yield member, member.deadline

    def _expire(self, member: _Waiting[Question, Reply]) -> None:
        member.settle(self._expired())

    def _ended(self, call: asyncio.Task[None]) -> None:
        del self._calls[call]
        if self._waiting:
            self._start()
