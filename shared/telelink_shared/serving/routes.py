"""The Open Inference Protocol V2 over the served version of one model."""

from __future__ import annotations

import math
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from telelink_shared.artifact import input_schema_hash
from telelink_shared.customer import CATEGORIES
from telelink_shared.features import BadColumn
from telelink_shared.inference import (
    BINARY_EXTENSION,
    BINARY_MEDIA_TYPE,
    DEADLINE_HEADER,
    HEADER_LENGTH,
    InferRequest,
    InferResponse,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
    TensorMetadata,
)
from telelink_shared.problem import BadRequest, DeadlinePassed, NotFound
from telelink_shared.reasons import GROUP_NAMES
from telelink_shared.serving.definition import BASELINE_OUTPUT, REASONS_OUTPUT, VARIANT_OUTPUT, ModelDefinition, Outputs
from telelink_shared.serving.infer_message import Question, invalid_column, question_of, read_message, reply_of
from telelink_shared.serving.model import LoadedModel
from telelink_shared.serving.repository import Repository
from telelink_shared.web.openapi import json_body_of

# 256 customers have some 40 KB.
_MAX_BYTES_IN_PLACE: Final = 64 * 1024
# More rows than this leave the event loop to others meanwhile; the way to a worker thread costs about 0.1 ms.
_MAX_ROWS_IN_PLACE: Final = 256
# A day: nobody waits for more than that.
_MAX_DEADLINE_DIGITS: Final = 8

_EXTENSIONS: Final = ["model_repository", BINARY_EXTENSION]

_BYTES: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}
_INFER_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The answer; with bytes behind the JSON object where outputs are asked for as such",
        "content": {BINARY_MEDIA_TYPE: _BYTES},
    },
    504: {"description": "The deadline had passed: nothing was begun", "content": {"application/problem+json": {}}},
}
_BODY: Final = json_body_of(InferRequest)["requestBody"]
_INFER_EXTRA: Final[dict[str, Any]] = {
    "requestBody": _BODY | {"content": _BODY["content"] | {BINARY_MEDIA_TYPE: _BYTES}},
    "parameters": [
        {
            "name": HEADER_LENGTH,
            "in": "header",
            "required": False,
            "description": "Where tensors follow as bytes: the length of the body's JSON object",
            "schema": {"type": "integer", "minimum": 0},
        },
        {
            "name": DEADLINE_HEADER,
            "in": "header",
            "required": False,
            "description": "For how many more milliseconds the answer is waited for; later, nothing is begun",
            "schema": {"type": "integer", "minimum": 0},
        },
    ],
}
router = APIRouter(prefix="/v2")


async def get_repository(request: Request) -> Repository:
    """The versions of the model, as the lifespan opened them."""
    repository: Repository = request.state.repository
    return repository


def model_of(request: Request) -> LoadedModel:
    """The version that answers this request, whatever is loaded meanwhile."""
    repository: Repository = request.scope["state"]["repository"]
    return repository.model


async def get_model(request: Request) -> LoadedModel:
    """The same for a signature. A coroutine, since a plain function would hop threads."""
    return model_of(request)


Model = Annotated[LoadedModel, Depends(get_model)]


def must_be_served(model: LoadedModel, name: str, version: str | None = None) -> None:
    """Refuse an address of another model, or of another version than the served one.

    Raises:
        NotFound
    """
    if name != model.definition.name:
        raise NotFound(f"This service serves the model '{model.definition.name}' only.")
    if version is not None and version != model.version:
        raise NotFound(f"This service serves version {model.version} of the model only.")


@router.get("")
async def server_metadata(request: Request) -> ServerMetadata:
    """Name and version of this server."""
    return ServerMetadata(name=request.app.title, version=request.app.version, extensions=_EXTENSIONS)


@router.get("/health/live")
async def live() -> ServerLive:
    """Whether the process answers."""
    return ServerLive(live=True)


@router.get("/health/ready", response_model=ServerReady)
async def ready(request: Request) -> Response:
    """200 when requests are welcome; 503 while the service stops."""
    is_ready = request.app.state.lifecycle.is_ready
    return JSONResponse({"ready": is_ready}, status_code=200 if is_ready else 503)


def _outputs(definition: ModelDefinition) -> list[TensorMetadata]:
    outputs = []
    for output in definition.outputs:
        parameters: dict[str, Any] = {"unit": output.unit, "lower": output.lower, "upper": output.upper}
        if output.on_request:
            parameters["on_request"] = True
        outputs.append(TensorMetadata(name=output.name, datatype="FP64", shape=[-1], parameters=parameters))
    explains = {"on_request": True, "unit": definition.main_output.unit, "explains": definition.main_output.name}
    groups = list(GROUP_NAMES)
    return [
        *outputs,
        TensorMetadata(name=VARIANT_OUTPUT, datatype="BYTES", shape=[-1], parameters={"on_request": True}),
        TensorMetadata(
            name=REASONS_OUTPUT, datatype="FP64", shape=[-1, len(groups)], parameters={**explains, "groups": groups}
        ),
        TensorMetadata(name=BASELINE_OUTPUT, datatype="FP64", shape=[-1], parameters=explains),
    ]


def _variants(model: LoadedModel) -> list[dict[str, Any]]:
    """Name and needs of each variant, best first, and how good it was found to be, where that was measured."""
    quality, measured = model.definition.quality, model.manifest.metrics.get("variants", {})
    return [
        {"name": variant.name, "needs": list(variant.needs)}
        | ({quality: measured[variant.name][quality]} if quality in measured.get(variant.name, {}) else {})
        for variant in model.manifest.variants
    ]


@router.get("/models/{name}")
@router.get("/models/{name}/versions/{version}")
async def model_metadata(
    name: str, model: Model, repository: Annotated[Repository, Depends(get_repository)], version: str | None = None
) -> ModelMetadata:
    """Inputs and outputs of the served version, and under `parameters` what it was released with."""
    must_be_served(model, name, version)
    definition, manifest = model.definition, model.manifest
    optional = {column: {"optional": True} for column in definition.optional}
    return ModelMetadata(
        name=definition.name,
        versions=[model.version],
        platform=model.engine.platform,
        inputs=[
            TensorMetadata(
                name=column,
                datatype="BYTES" if column in CATEGORIES else "FP64",
                shape=[-1],
                parameters=optional.get(column),
            )
            for column in (*definition.required, *definition.optional)
        ],
        outputs=_outputs(definition),
        parameters={
            "input_schema_hash": input_schema_hash(definition.required),
            "created_at": manifest.created_at,
            "data": manifest.data,
            "metrics": manifest.metrics,
            "quantiles": manifest.quantiles,
            "variants": _variants(model),
            "notes": list(manifest.notes),
            "reference": manifest.reference,
            "libraries": manifest.libraries,
            "versions_on_disk": [entry.version for entry in repository.index()],
            "card": model.card,
        },
    )


@router.get("/models/{name}/ready", response_model=ModelReady)
@router.get("/models/{name}/versions/{version}/ready", response_model=ModelReady)
async def model_ready(request: Request, name: str, model: Model, version: str | None = None) -> Response:
    """200 when this model can answer; 503 while the service stops."""
    must_be_served(model, name, version)
    is_ready = request.app.state.lifecycle.is_ready
    return JSONResponse({"name": name, "ready": is_ready}, status_code=200 if is_ready else 503)


def _deadline(request: Request) -> float:
    """When whoever asks stops waiting, on the monotonic clock; never, where the request does not say.

    Raises:
        BadRequest: the header is no number of milliseconds.
    """
    value = request.headers.get(DEADLINE_HEADER)
    if value is None:
        return math.inf
    if not (value.isascii() and value.isdigit() and len(value) <= _MAX_DEADLINE_DIGITS):
        raise BadRequest(f"{DEADLINE_HEADER} must be a whole number of milliseconds.")
    return time.monotonic() + int(value) / 1e3


def _must_be_in_time(deadline: float) -> None:
    """Refuse to begin what nobody waits for any more.

    Raises:
        DeadlinePassed
    """
    if time.monotonic() >= deadline:
        raise DeadlinePassed("The request's deadline had passed before the model was asked.")


async def _infer(model: LoadedModel, question: Question, deadline: float) -> Outputs:
    def in_time() -> Outputs:
        _must_be_in_time(deadline)
        return model.infer(question.columns, n_rows=question.n_rows, wanted=question.wanted)

    has_reasons = REASONS_OUTPUT in question.wanted or BASELINE_OUTPUT in question.wanted
    # Where all threads are busy it may have become too late before one is free.
    return in_time() if question.n_rows <= _MAX_ROWS_IN_PLACE and not has_reasons else await run_in_threadpool(in_time)


@router.post(
    "/models/{name}/infer", response_model=InferResponse, responses=_INFER_RESPONSES, openapi_extra=_INFER_EXTRA
)
@router.post(
    "/models/{name}/versions/{version}/infer",
    response_model=InferResponse,
    responses=_INFER_RESPONSES,
    openapi_extra=_INFER_EXTRA,
)
async def infer(request: Request, name: str, model: Model, version: str | None = None) -> Response:
    """Answer a batch of rows: one input tensor for each raw column, first dimension the batch."""
    must_be_served(model, name, version)
    return await infer_served(request)


async def infer_served(request: Request) -> Response:
    """The same, by whatever is served."""
    model = model_of(request)
    deadline = _deadline(request)
    _must_be_in_time(deadline)
    message, data = await read_message(request)
    if len(data) > _MAX_BYTES_IN_PLACE:
        question = await run_in_threadpool(question_of, message, data, model.definition)
    else:
        question = question_of(message, data, model.definition)
    try:
        outputs = await _infer(model, question, deadline)
    except BadColumn as error:
        raise invalid_column(message, error) from error
    return reply_of(model, question, outputs)
