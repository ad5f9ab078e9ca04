"""Asks one model service, and turns whatever a network can do into an answer or one of our problems."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from pydantic import BaseModel, FiniteFloat, ValidationError
from pydantic_core import from_json, to_json

from telelink_gateway.upstream.answer import REASONS, Answer, Expected, Inputs, InvalidReply, checked_columns
from telelink_gateway.upstream.http import CallFailed, Http
from telelink_shared.inference import InferResponse, ModelMetadata
from telelink_shared.problem import ModelUnavailable
from telelink_shared.web.metrics import BUCKETS_S

_RETRY_AFTER_S: Final = 2
# How long an answer to "are you there?" is good for, and how long it may take.
_STATUS_AGE_S: Final = 0.5
_STATUS_TIMEOUT_S: Final = 1.0
# A service has one version at a time, and a second while it is replaced.
_MAX_VERSIONS: Final = 8
_JSON: Final = {"content-type": "application/json"}

log = structlog.get_logger()


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
        self.shed = Counter(
            "upstream_shed_total", "Customers refused since too many were waiting", ("service",), registry=registry
        )


class Refused(Exception):
    """The service will not take these customers (a status of the 400s): asking again, or another, will not help."""


@cache
def _outputs_json(outputs: tuple[Expected, ...]) -> bytes:
    return to_json([{"name": output.name} for output in outputs])


class _Variant(BaseModel, strict=True):
    name: str
    needs: list[str]


class _Parameters(BaseModel, strict=True):
    """What is used of a model's own parameters, and must be of this shape where it is there."""

    input_schema_hash: str = ""
    quantiles: dict[str, dict[str, FiniteFloat]] = {}
    notes: list[str] = []
    variants: list[_Variant] = []


@dataclass
class ModelClient:
    """One model service.

    Attributes:
        service: the service's name, as operators know it.
        model: the model's name in the protocol.
        url: its address.
        http: how it is reached.
        schema_hash: of the input schema that this gateway sends.
        expected: outputs that are asked for and checked.
    """

    service: str
    model: str
    url: str
    http: Http
    metrics: UpstreamMetrics
    schema_hash: str
    expected: tuple[Expected, ...]
    _metadata: dict[str, ModelMetadata] = field(default_factory=dict, init=False)
    _latest: ModelMetadata | None = field(default=None, init=False)
    _last_error: str | None = field(default=None, init=False)
    _status: tuple[float, ServiceStatus] | None = field(default=None, init=False)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def __post_init__(self) -> None:
        self._infer_url = f"{self.url}/v2/models/{self.model}/infer"

    async def infer(
        self, inputs: Inputs, *, headers: Mapping[str, str], deadline: float, with_reasons: bool = False
    ) -> Answer:
        """The model's outputs for customers.

        Args:
            headers: tell the service which request this belongs to.
            deadline: on the event loop's clock; the answer is there by then or not at all.
            with_reasons: also what each group of fields adds.

        Raises:
            ModelUnavailable: no valid answer by the deadline.
            Refused: the service is well, but does not take one of the customers.
        """
        started = time.perf_counter()
        outcome = "error"
        try:
            async with asyncio.timeout_at(deadline):
                answer = await self._ask(inputs, headers, (*self.expected, *REASONS) if with_reasons else self.expected)
            outcome = "ok"
        except TimeoutError as error:
            outcome = "timeout"
            raise self.unavailable("no answer within the deadline", headers) from error
        except CallFailed as error:
            raise self.unavailable(str(error), headers) from error
        except InvalidReply as error:
            outcome = "invalid"
            raise self.unavailable(str(error), headers) from error
        except Refused:
            outcome = "refused"
            raise
        else:
            self._last_error = None
            return answer
        finally:
            self.metrics.calls.labels(self.service, outcome).inc()
            self.metrics.durations.labels(self.service).observe(time.perf_counter() - started)

    async def _ask(self, inputs: Inputs, headers: Mapping[str, str], outputs: tuple[Expected, ...]) -> Answer:
        body = b'{"inputs":%b,"outputs":%b}' % (inputs.json, _outputs_json(outputs))
        reply = await self.http.call("POST", self._infer_url, {**_JSON, **headers}, body)
        if reply.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            raise Refused
        if reply.status != HTTPStatus.OK:
            raise InvalidReply(f"status {reply.status}")
        try:
            message = InferResponse.model_validate(from_json(reply.body))
        except (ValueError, ValidationError) as error:
            raise InvalidReply("the reply is not a message of the protocol") from error
        if message.model_name != self.model:
            raise InvalidReply("another model answered")
        columns, invalid = checked_columns(message, outputs, inputs.n_rows)
        metadata = self._metadata.get(message.model_version) or await self._describe(headers, message.model_version)
        return Answer(self.model, message.model_version, metadata, columns, invalid)

    async def _describe(self, headers: Mapping[str, str], version: str | None = None) -> ModelMetadata:
        """Metadata of the served version, or of the one that just answered."""
        path = f"/v2/models/{self.model}" + (f"/versions/{quote(version, safe='')}" if version else "")
        reply = await self.http.call("GET", self.url + path, headers)
        if reply.status != HTTPStatus.OK:
            raise InvalidReply(f"status {reply.status} for the model's metadata")
        try:
            metadata = ModelMetadata.model_validate(from_json(reply.body))
            parameters = _Parameters.model_validate(metadata.parameters)
        except (ValueError, ValidationError) as error:
            raise InvalidReply("the metadata is not a message of the protocol") from error
        if metadata.name != self.model or not metadata.versions:
            raise InvalidReply("the metadata is about another model")
        if version is not None and version not in metadata.versions:
            raise InvalidReply("the metadata is about another version")
        if parameters.input_schema_hash != self.schema_hash:
            raise InvalidReply("the service was built for another input schema than this gateway")
        if len(self._metadata) >= _MAX_VERSIONS:
            self._metadata.clear()
        self._metadata[version or metadata.versions[-1]] = metadata
        self._latest = metadata
        return metadata

    @property
    def latest_metadata(self) -> ModelMetadata | None:
        """What the service last said of its model; None before it ever did."""
        return self._latest

    def unavailable(self, reason: str, headers: Mapping[str, str]) -> ModelUnavailable:
        """The problem to tell a client; the reason is for the log and for operators.

        Args:
            headers: of the request that failed.
        """
        self._last_error = reason
        request_id = headers.get("x-request-id", "")
        log.warning("model service failed", upstream=self.service, reason=reason, request_id=request_id)
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
                reply = await self.http.call("GET", f"{self.url}/v2/models/{self.model}/ready", {})
                latency_ms: float | None = round((time.perf_counter() - started) * 1e3, 3)
                state = "ready" if reply.status == HTTPStatus.OK else "not ready"
                metadata = await self._describe({})
                version, notes = metadata.versions[-1], tuple(map(str, metadata.parameters.get("notes", ())))
                reason = self._last_error
        except (TimeoutError, CallFailed) as error:
            state, latency_ms, reason = "unreachable", None, str(error) or "no answer within a second"
        except InvalidReply as error:
            state, reason = "not ready", str(error)
        return ServiceStatus(self.service, state, self.url, self.model, version, latency_ms, reason, notes)
