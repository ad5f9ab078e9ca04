"""Asks one model service, and turns whatever a network can do into an answer or one of our problems.

The only module that imports httpx.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from pydantic import BaseModel, FiniteFloat, ValidationError
from pydantic_core import from_json, to_json

from telelink_shared.inference import InferResponse, ModelMetadata, Tensor
from telelink_shared.problem import ModelUnavailable
from telelink_shared.web.metrics import BUCKETS_S
from telelink_shared.web.request_id import forwarded_headers

# The pool is never contended: a call that waited for a slot would leak it when cancelled (encode/httpcore#1093).
_MAX_CONNECTIONS: Final = 1024
_RETRY_AFTER_S: Final = 2
# How long an answer to "are you there?" is good for, and how long it may take.
_STATUS_AGE_S: Final = 0.5
_STATUS_TIMEOUT_S: Final = 1.0
# All that httpx can raise; the last three stand outside its tree of errors.
_HTTP_ERRORS: Final = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict)

log = structlog.get_logger()


@dataclass(frozen=True)
class Expected:
    """What an output of a reply must be.

    Attributes:
        name: of the tensor.
        lower, upper: every number lies between them; None for a tensor of words.
        may_be_unknown: null is a valid value.
    """

    name: str
    lower: float | None = None
    upper: float | None = None
    may_be_unknown: bool = False

    def accepts(self, tensor: Tensor, n_rows: int) -> bool:
        """Whether the tensor has one valid value for each row."""
        if len(tensor.data) != n_rows:
            return False
        if self.lower is None or self.upper is None:
            return all(isinstance(value, str) for value in tensor.data)
        lower, upper = self.lower, self.upper
        return all(
            lower <= value <= upper
            if isinstance(value, (float, int)) and value is not True and value is not False
            # NaN fails the comparison
            else self.may_be_unknown and value is None
            for value in tensor.data
        )


@dataclass(frozen=True)
class Answer:
    """A checked reply of a model service.

    Attributes:
        metadata: of the version that answered.
        columns: values by output name, one for each customer.
    """

    model: str
    version: str
    metadata: ModelMetadata
    columns: Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class ServiceStatus:
    """A model service as the gateway sees it now.

    Attributes:
        state: 'ready', 'not ready' or 'unreachable'.
        latency_ms: of the question for its state.
        notes: what must be said wherever a figure of this model is shown.
    """

    name: str
    state: str
    address: str
    model: str
    version: str | None
    latency_ms: float | None
    last_error: str | None
    notes: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether it can answer."""
        return self.state == "ready"


class UpstreamMetrics:
    """Calls to model services, counted."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls = Counter(
            "upstream_calls_total", "Calls to a model service", ("service", "outcome"), registry=registry
        )
        self.durations = Histogram(
            "upstream_call_duration_seconds",
            "Time of a call to a model service",
            ("service",),
            buckets=BUCKETS_S,
            registry=registry,
        )


@asynccontextmanager
async def open_http() -> AsyncIterator[httpx.AsyncClient]:
    """One connection pool for all model services. Proxies of the environment are not for them."""
    limits = httpx.Limits(max_connections=_MAX_CONNECTIONS, max_keepalive_connections=64, keepalive_expiry=30)
    # The deadline around each call ends it; these only bound what goes wrong below it.
    timeout = httpx.Timeout(10.0, connect=1.0)
    async with httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False) as http:
        yield http


class _Invalid(Exception):
    """The service answered, but not with what it should have; the message is for the log."""


class _Parameters(BaseModel, strict=True):
    """What is used of a model's own parameters, and must be of this shape where it is there."""

    input_schema_hash: str = ""
    quantiles: dict[str, dict[str, FiniteFloat]] = {}
    notes: list[str] = []


@dataclass
class ModelClient:
    """One model service.

    Attributes:
        service: the service's name, as operators know it.
        model: the model's name in the protocol.
        url: its address.
        http: the pool.
        schema_hash: of the input schema that this gateway sends.
        expected: outputs that are asked for and checked.
    """

    service: str
    model: str
    url: str
    http: httpx.AsyncClient
    metrics: UpstreamMetrics
    schema_hash: str
    expected: tuple[Expected, ...]
    _metadata: dict[str, ModelMetadata] = field(default_factory=dict, init=False)
    _latest: ModelMetadata | None = field(default=None, init=False)
    _last_error: str | None = field(default=None, init=False)
    _status: tuple[float, ServiceStatus] | None = field(default=None, init=False)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def __post_init__(self) -> None:
        self._outputs_json = to_json([{"name": output.name} for output in self.expected])
        self._infer_url = f"{self.url}/v2/models/{self.model}/infer"

    async def infer(self, inputs_json: bytes, *, n_rows: int, deadline: float) -> Answer:
        """The model's outputs for a batch.

        Args:
            inputs_json: the protocol's `inputs`, already serialised.
            n_rows: number of customers in them.
            deadline: on the event loop's clock; the answer is there by then or not at all.

        Raises:
            ModelUnavailable: no valid answer by the deadline.
        """
        started = time.perf_counter()
        outcome = "error"
        try:
            async with asyncio.timeout_at(deadline):
                answer = await self._ask(inputs_json, n_rows)
            outcome = "ok"
        except TimeoutError as error:
            outcome = "timeout"
            raise self._unavailable("no answer within the deadline") from error
        except _HTTP_ERRORS as error:
            raise self._unavailable(f"{type(error).__name__}: {error}") from error
        except _Invalid as error:
            outcome = "invalid"
            raise self._unavailable(str(error)) from error
        else:
            self._last_error = None
            return answer
        finally:
            self.metrics.calls.labels(self.service, outcome).inc()
            self.metrics.durations.labels(self.service).observe(time.perf_counter() - started)

    async def _ask(self, inputs_json: bytes, n_rows: int) -> Answer:
        body = b'{"inputs":%b,"outputs":%b}' % (inputs_json, self._outputs_json)
        headers = {"content-type": "application/json", **forwarded_headers()}
        reply = await self.http.post(self._infer_url, content=body, headers=headers)
        if reply.status_code != httpx.codes.OK:
            raise _Invalid(f"status {reply.status_code}")
        try:
            message = InferResponse.model_validate(from_json(reply.content))
        except (ValueError, ValidationError) as error:
            raise _Invalid("the reply is not a message of the protocol") from error
        if message.model_name != self.model:
            raise _Invalid("another model answered")
        tensors = {tensor.name: tensor for tensor in message.outputs}
        for expected in self.expected:
            tensor = tensors.get(expected.name)
            if tensor is None or not expected.accepts(tensor, n_rows):
                raise _Invalid(f"output {expected.name} is missing or not valid")
        metadata = self._metadata.get(message.model_version) or await self._describe(message.model_version)
        columns = {expected.name: tensors[expected.name].data for expected in self.expected}
        return Answer(self.model, message.model_version, metadata, columns)

    async def _describe(self, version: str | None = None) -> ModelMetadata:
        """Metadata of the served version, or of the one that just answered."""
        path = f"/v2/models/{self.model}" + (f"/versions/{version}" if version else "")
        reply = await self.http.get(self.url + path, headers=forwarded_headers())
        if reply.status_code != httpx.codes.OK:
            raise _Invalid(f"status {reply.status_code} for the model's metadata")
        try:
            metadata = ModelMetadata.model_validate(from_json(reply.content))
            parameters = _Parameters.model_validate(metadata.parameters)
        except (ValueError, ValidationError) as error:
            raise _Invalid("the metadata is not a message of the protocol") from error
        if metadata.name != self.model or not metadata.versions:
            raise _Invalid("the metadata is about another model")
        if version is not None and version not in metadata.versions:
            raise _Invalid("the metadata is about another version")
        if parameters.input_schema_hash != self.schema_hash:
            raise _Invalid("the service was built for another input schema than this gateway")
        self._metadata[version or metadata.versions[-1]] = metadata
        self._latest = metadata
        return metadata

    @property
    def latest_metadata(self) -> ModelMetadata | None:
        """What the service last said of its model; None before it ever did."""
        return self._latest

    def _unavailable(self, reason: str) -> ModelUnavailable:
        self._last_error = reason
        log.warning("model service failed", upstream=self.service, reason=reason)
        return ModelUnavailable(
            f"The {self.service} cannot answer right now. Try again in a few seconds.", retry_after_s=_RETRY_AFTER_S
        )

    async def status(self) -> ServiceStatus:
        """The service's state, at most half a second old however many ask."""
        async with self._asking:
            if self._status is None or time.monotonic() - self._status[0] > _STATUS_AGE_S:
                status = await self._ask_status()
                self._status = (time.monotonic(), status)
            return self._status[1]

    async def _ask_status(self) -> ServiceStatus:
        started = time.perf_counter()
        version: str | None = None
        notes: tuple[str, ...] = ()
        reason: str | None
        try:
            async with asyncio.timeout(_STATUS_TIMEOUT_S):
                reply = await self.http.get(f"{self.url}/v2/models/{self.model}/ready")
                latency_ms: float | None = round((time.perf_counter() - started) * 1e3, 3)
                state = "ready" if reply.status_code == httpx.codes.OK else "not ready"
                metadata = await self._describe()
                version, notes = metadata.versions[-1], tuple(map(str, metadata.parameters.get("notes", ())))
                reason = self._last_error
        except (TimeoutError, *_HTTP_ERRORS) as error:
            state, latency_ms, reason = "unreachable", None, str(error) or type(error).__name__
        except _Invalid as error:
            state, reason = "not ready", str(error)
        return ServiceStatus(self.service, state, self.url, self.model, version, latency_ms, reason, notes)
