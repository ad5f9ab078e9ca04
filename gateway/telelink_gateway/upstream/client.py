"""Asks one model service, and turns whatever a network can do into an answer or one of our problems."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import Final, NamedTuple

import structlog
from pydantic import ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import from_json, to_json

from telelink_gateway.upstream.answer import REASONS, Answer, Expected, Inputs, checked_columns, inputs_of
from telelink_gateway.upstream.binary import headers_of, read_reply
from telelink_gateway.upstream.breaker import Breaker, State
from telelink_gateway.upstream.failure import RETRIED, Failure, FailureCode
from telelink_gateway.upstream.http import Reply
from telelink_gateway.upstream.metrics import UpstreamMetrics
from telelink_gateway.upstream.probing import Prober
from telelink_gateway.upstream.retry import RetryBudget
from telelink_gateway.upstream.service import ModelService
from telelink_gateway.upstream.status import CallLog, Said, ServiceStatus
from telelink_shared.customer import EXAMPLE, MINUTES, Customer, row_of
from telelink_shared.inference import DEADLINE_HEADER, InferResponse
from telelink_shared.problem import ModelUnavailable
from telelink_shared.reasons import GROUP_NAMES
from telelink_shared.web.request_id import new_id

_RETRY_AFTER_S: Final = 2
# How long an answer to "are you there?" is good for.
_STATUS_AGE_S: Final = 0.5
# With the second before it, a service that is back is found within three.
_PROBE_TIMEOUT_S: Final = 1.5
# Who gives a call less time than this has no reason to call the service slow. It is at least ten times what is usual.
_FAIR_S: Final = 0.25
_FAIR_S_PER_ROW: Final = 0.001
# With reasons, every coalition of the groups of fields is asked for.
_ROWS_PER_EXPLAINED: Final = 2 ** len(GROUP_NAMES)
_JSON: Final = {"content-type": "application/json"}
_KEEP: Final[Mapping[str, str]] = {}
_CLOSE: Final[Mapping[str, str]] = {"connection": "close"}
# A row with reasons has about 500 bytes.
_REPLY_BYTES: Final = 64 * 1024
_REPLY_BYTES_PER_ROW: Final = 1024
# The fault is with what was sent. Our services say 422; those of other makes also 400, or that it is too much.
_REFUSALS: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)

log = structlog.get_logger()


class Refused(Exception):
    """The service does not take one of these customers, and is well: asking again, or another, will not help."""


class _Call(NamedTuple):
    """What is asked in one call, by when (on the event loop's clock), and for which request.

    Attributes:
        is_probe: asked for nobody, so no further call is made for its sake.
    """

    inputs: Inputs
    outputs: tuple[Expected, ...]
    headers: Mapping[str, str]
    deadline: float
    is_probe: bool = False


@cache
def _outputs_json(outputs: tuple[Expected, ...], as_bytes: bool) -> bytes:
    if as_bytes:
        return to_json([{"name": output.name, "parameters": {"binary_data": True}} for output in outputs])
    return to_json([{"name": output.name} for output in outputs])


def _message(reply: Reply) -> InferResponse:
    if reply.head_bytes is not None:
        return read_reply(reply.body, reply.head_bytes)
    try:
        return InferResponse.model_validate(from_json(reply.body))
    except (ValueError, ValidationError) as error:
        raise Failure("malformed", "the reply is not a message of the protocol") from error


@cache
def _probe_inputs() -> Inputs:
    """Customers that any model must have an answer for: one without usage, and one with."""
    usage = {to_camel(column): 100.0 for column in MINUTES}
    return inputs_of([row_of(Customer.model_validate(EXAMPLE | more)) for more in ({}, usage)])


@dataclass
class ModelClient:
    """Asks one model service.

    Attributes:
        service: that is asked.
        expected: outputs that are asked for and checked.
    """

    service: ModelService
    metrics: UpstreamMetrics
    expected: tuple[Expected, ...]
    breaker: Breaker = field(init=False)
    _retries: RetryBudget = field(default_factory=RetryBudget, init=False)
    _calls: CallLog = field(default_factory=CallLog, init=False)
    _said: Said | None = field(default=None, init=False)
    _said_at: float = field(default=0.0, init=False)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def __post_init__(self) -> None:
        self.breaker = Breaker(self._breaker_changed)
        self._prober = Prober(self.breaker, self._probe)
        self._ids = new_id()
        self._numbers = itertools.count()
        # What is sent along while connections may have something left over.
        self._mistrust: Mapping[str, str] = _KEEP
        self.metrics.begin(self.service.name)

    async def close(self) -> None:
        """End what goes on by itself."""
        await self._prober.close()
        await self.service.close()

    async def infer(
        self, inputs: Inputs, *, headers: Mapping[str, str], deadline: float, with_reasons: bool = False
    ) -> Answer:
        """The model's outputs for customers.

        Args:
            headers: tell the service which request this belongs to.
            deadline: on the event loop's clock; the answer is there by then or not at all.
            with_reasons: also what each group of fields adds.

        Raises:
            ModelUnavailable: no valid answer by the deadline, or the service is not asked at the moment.
            Refused: the service is well, but does not take one of the customers, or breaks on it.
        """
        ticket = self.breaker.admit()
        if ticket is None:
            raise self.not_asked()
        outputs = (*self.expected, *REASONS) if with_reasons else self.expected
        self._retries.earn()
        try:
            return await self._judged(ticket, _Call(inputs, outputs, headers, deadline))
        except Failure as failure:
            raise self.unavailable(failure.code, str(failure), headers) from failure

    async def _probe(self, ticket: int) -> None:
        """One call that no customer waits for."""
        deadline = asyncio.get_running_loop().time() + _PROBE_TIMEOUT_S
        try:
            await self._judged(ticket, _Call(_probe_inputs(), self.expected, {}, deadline, is_probe=True))
        except Failure as failure:
            self._failed(failure.code, str(failure), "")
        except Refused:  # an answer of its own
            pass

    async def _judged(self, ticket: int, call: _Call) -> Answer:
        """The answer; how the call ended is counted, and tells the breaker how the service is.

        Raises:
            Failure, Refused
        """
        loop = asyncio.get_running_loop()
        given_s = call.deadline - loop.time()
        started = time.perf_counter()
        outcome: str = "cancelled"
        is_well: bool | None = None
        try:
            if given_s <= 0:
                raise TimeoutError
            async with asyncio.timeout_at(call.deadline):
                answer = await self._ask(call)
            outcome, is_well = "ok", True
            return answer
        except TimeoutError as error:
            outcome = "timeout"
            # Too little time, or too much work in one call, is the caller's doing.
            is_well = None if given_s < _fair_s(call) else False
            raise Failure("timeout", "no answer within the deadline") from error
        except Failure as failure:
            outcome, is_well = failure.code, False
            raise
        except Refused:
            outcome, is_well = "refused", True
            raise
        finally:
            took_s = time.perf_counter() - started
            self.metrics.ended(self.service.name, outcome, took_s)
            if outcome == "ok":
                self._calls.answered(took_s)
            self.breaker.record(ticket, is_well, loop.time())

    async def _ask(self, call: _Call) -> Answer:
        """Ask, and once more where that may help and is allowed, at another address if there is one."""
        loop = asyncio.get_running_loop()
        given_s = call.deadline - loop.time()
        base = await self.service.pick()
        try:
            return await self._ask_at(base, call)
        except asyncio.CancelledError:
            # By the deadline, and not since the caller has gone: one of several that hangs must not take all with it.
            if loop.time() >= call.deadline and given_s >= _fair_s(call):
                self.service.avoid(base)
            raise
        except Failure as failure:
            if failure.code not in RETRIED:
                raise
            if failure.code != "version":
                self.service.avoid(base)
            if call.is_probe or not self._retries.spend():
                raise
            self.metrics.retries.labels(self.service.name, failure.code).inc()
        return await self._ask_at(await self.service.pick(not_this=base), call)

    async def _ask_at(self, base: str, call: _Call) -> Answer:
        call_id = self._ids + str(next(self._numbers))
        as_bytes = call.inputs.data is not None
        body = b'{"id":"%b","inputs":%b,"outputs":%b}' % (
            call_id.encode(),
            call.inputs.json,
            _outputs_json(call.outputs, as_bytes),
        )
        headers: Mapping[str, str] = _JSON
        if call.inputs.data is not None:
            headers, body = headers_of(body), body + call.inputs.data
        left_ms = max(0, int((call.deadline - asyncio.get_running_loop().time()) * 1e3))
        n_rows = call.inputs.n_rows
        reply = await self.service.infer(
            base,
            {**headers, **self._mistrust, **call.headers, DEADLINE_HEADER: str(left_ms)},
            body,
            limit_bytes=_REPLY_BYTES + n_rows * _REPLY_BYTES_PER_ROW,
        )
        if reply.status == HTTPStatus.INTERNAL_SERVER_ERROR and await self._answers_another(base, call):
            raise Refused
        if reply.status != HTTPStatus.OK:
            self._give_up(reply)
        message = _message(reply)
        if message.id != call_id:
            # Left over on the connection from a call before, it would be told of the wrong customers.
            self._mistrust = _CLOSE
            raise Failure("mixed_up", "the reply is to another call")
        self._mistrust = _KEEP
        if message.model_name != self.service.model:
            raise Failure("model", "another model answered")
        columns, invalid = checked_columns(message, call.outputs, n_rows)
        version = message.model_version
        # Asked of the one that answered: behind another address there may be another version.
        metadata = self.service.metadata.get(version) or await self.service.describe(base, call.headers, version)
        return Answer(self.service.model, version, metadata, columns, invalid)

    async def _answers_another(self, base: str, call: _Call) -> bool:
        """Whether it does answer what a probe asks, by the same deadline: then the fault is with these customers."""
        if call.is_probe or self.breaker.state != "closed":
            return False
        try:
            await self._ask_at(base, call._replace(inputs=_probe_inputs(), outputs=self.expected, is_probe=True))
        except (Failure, Refused):
            return False
        return True

    def _give_up(self, reply: Reply) -> None:
        if reply.status in _REFUSALS:
            raise Refused
        if reply.status == HTTPStatus.GATEWAY_TIMEOUT:  # by the deadline that it was told
            raise TimeoutError
        if reply.is_draining:
            raise Failure("draining", "the service is about to stop")
        raise Failure("status", f"status {reply.status}")

    async def extensions(self, *, deadline: float) -> Collection[str]:
        """What the server says that it can do beyond the protocol; nothing where it does not say.

        Raises:
            ModelUnavailable
        """
        try:
            async with asyncio.timeout_at(deadline):
                return await self.service.extensions()
        except TimeoutError as error:
            raise self.unavailable("timeout", "nothing said of itself within the deadline", {}) from error
        except Failure as failure:
            raise self.unavailable(failure.code, str(failure), {}) from failure

    def unavailable(self, code: FailureCode, reason: str, headers: Mapping[str, str]) -> ModelUnavailable:
        """The problem to tell a client; code and reason are for operators and the log.

        Args:
            headers: of the request that failed.
        """
        self._failed(code, reason, headers.get("x-request-id", ""))
        return self._problem()

    def not_asked(self) -> ModelUnavailable:
        """The same while the breaker is not closed."""
        self.metrics.not_asked.labels(self.service.name).inc()
        return self._problem()

    def _problem(self) -> ModelUnavailable:
        return ModelUnavailable(
            f"The {self.service.name} cannot answer right now. Try again in a few seconds.",
            retry_after_s=_RETRY_AFTER_S,
        )

    def _failed(self, code: FailureCode, reason: str, request_id: str) -> None:
        self._calls.failed(code)
        log.warning("model service failed", upstream=self.service.name, code=code, reason=reason, request_id=request_id)

    def _breaker_changed(self, state: State) -> None:
        self.metrics.breaker_changed(self.service.name, state)
        log.warning("breaker changed", upstream=self.service.name, breaker=state)
        if state == "open":
            self._prober.schedule()

    async def status(self) -> ServiceStatus:
        """The service's state, asked for at most every half second however many want to know."""
        async with self._asking:
            now = time.monotonic()
            if self._said is None or now - self._said_at > _STATUS_AGE_S:
                self._said, failure = await self.service.state()
                self._said_at = time.monotonic()
                if failure is not None:
                    self._failed(failure.code, str(failure), "")
            said = self._said
        of = self.service
        return self._calls.status(said, name=of.name, address=of.url, model=of.model, breaker=self.breaker.state)


def _fair_s(call: _Call) -> float:
    """The least time that one may expect the answer within."""
    n_rows = call.inputs.n_rows * (_ROWS_PER_EXPLAINED if REASONS[0] in call.outputs else 1)
    return _FAIR_S + n_rows * _FAIR_S_PER_ROW
