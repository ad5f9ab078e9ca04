"""The Open Inference Protocol V2 over the served version of one model."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import TypeAdapter
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from telelink_shared.artifact import input_schema_hash
from telelink_shared.customer import CATEGORIES
from telelink_shared.features import BadColumn
from telelink_shared.inference import (
    DEADLINE_HEADER,
    InferRequest,
    InferResponse,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
    Tensor,
    TensorMetadata,
)
from telelink_shared.problem import BadRequest, DeadlinePassed, FieldError, InvalidInput, NotFound
from telelink_shared.reasons import GROUP_NAMES
from telelink_shared.serving.definition import BASELINE_OUTPUT, REASONS_OUTPUT, VARIANT_OUTPUT, ModelDefinition, Outputs
from telelink_shared.serving.model import LoadedModel, MissingColumn
from telelink_shared.serving.repository import Repository
from telelink_shared.web.json_body import Shape, read_body, validate_json
from telelink_shared.web.json_reply import JsonReply
from telelink_shared.web.openapi import json_body_of

# 10,000 customers as V2 JSON have about 2 MB.
BODY_LIMIT_BYTES = 16 * 1024 * 1024

# Reasons cost 512 rows for each customer.
MAX_ROWS_WITH_REASONS: Final = 1_000
# More rows than this leave the event loop to others meanwhile; the way to a worker thread costs about 0.1 ms.
_MAX_ROWS_IN_PLACE: Final = 256
# A day: nobody waits for more than that.
_MAX_DEADLINE_DIGITS: Final = 8

_INFER_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    504: {"description": "The deadline had passed: nothing was begun", "content": {"application/problem+json": {}}}
}
_INFER_EXTRA: Final[dict[str, Any]] = {
    **json_body_of(InferRequest),
    "parameters": [
        {
            "name": DEADLINE_HEADER,
            "in": "header",
            "required": False,
            "description": "For how many more milliseconds the answer is waited for; later, nothing is begun",
            "schema": {"type": "integer", "minimum": 0},
        }
    ],
}
# A quarter more than 10,000 customers have, who are four times what the gateway asks for at once.
_MAX_VALUES: Final = 250_000


def _n_members(message: InferRequest) -> int:
    """Of those that the gateway sends: an id, what is required, and the outputs by name."""
    n_outputs = 0 if message.outputs is None else 1 + len(message.outputs)
    return (message.id is not None) + 1 + 4 * len(message.inputs) + n_outputs


_REQUEST: Final = Shape(TypeAdapter(InferRequest), _n_members, max_values=_MAX_VALUES)

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
    return ServerMetadata(name=request.app.title, version=request.app.version, extensions=["model_repository"])


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


def _values(tensor: Tensor) -> Sequence[Any]:
    # The protocol allows [[a], [b]] for a shape of [n, 1].
    if len(tensor.shape) == 2 and tensor.data and isinstance(tensor.data[0], list):
        return [row[0] if isinstance(row, list) and len(row) == 1 else row for row in tensor.data]
    return tensor.data


def _columns(request: InferRequest, known: frozenset[str]) -> tuple[dict[str, Sequence[Any]], int]:
    n_rows = request.inputs[0].shape[0]
    columns: dict[str, Sequence[Any]] = {}
    errors = []
    for position, tensor in enumerate(request.inputs):
        values = _values(tensor)
        pointer = f"/inputs/{position}"
        if tensor.name not in known:
            errors.append(FieldError(f"{pointer}/name", "unknown_tensor", "is not an input of this model"))
        elif tensor.name in columns:
            errors.append(FieldError(f"{pointer}/name", "duplicate_tensor", "is given twice"))
        elif tensor.shape not in ([n_rows], [n_rows, 1]):
            errors.append(FieldError(f"{pointer}/shape", "wrong_shape", f"must be [{n_rows}] like the first input's"))
        elif len(values) != n_rows:
            errors.append(FieldError(f"{pointer}/data", "wrong_length", "must have as many values as the shape says"))
        elif (tensor.datatype == "BYTES") > (tensor.name in CATEGORIES):
            errors.append(FieldError(f"{pointer}/datatype", "wrong_datatype", "must be FP64"))
        columns[tensor.name] = values
    if errors:
        raise InvalidInput("Some inputs are not valid; see 'errors'.", errors=errors)
    return columns, n_rows


def _pointer(request: InferRequest, column: str) -> str:
    names = [tensor.name for tensor in request.inputs]
    return f"/inputs/{names.index(column)}/data" if column in names else "/inputs"


def _wanted(request: InferRequest, definition: ModelDefinition, n_rows: int) -> Sequence[str]:
    """Names of the outputs to give."""
    if request.outputs is None:
        return definition.standard_outputs
    names = [output.name for output in request.outputs]
    reasons = (REASONS_OUTPUT, BASELINE_OUTPUT)
    available = {*(output.name for output in definition.outputs), VARIANT_OUTPUT, *reasons}
    for position, name in enumerate(names):
        pointer = f"/outputs/{position}/name"
        if name not in available:
            error = FieldError(pointer, "unknown_tensor", "is not an output of this model")
            raise InvalidInput("This model has no such output.", errors=[error])
        if name in reasons and n_rows > MAX_ROWS_WITH_REASONS:
            detail = f"Reasons are given for at most {MAX_ROWS_WITH_REASONS:,} rows at once. Split the request."
            raise InvalidInput(detail, errors=[FieldError(pointer, "too_many_rows", "is asked for too many rows")])
    return names


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


async def _infer(
    model: LoadedModel, columns: dict[str, Sequence[Any]], n_rows: int, wanted: Sequence[str], deadline: float
) -> Outputs:
    def in_time() -> Outputs:
        _must_be_in_time(deadline)
        return model.infer(columns, n_rows=n_rows, wanted=wanted)

    is_quick = n_rows <= _MAX_ROWS_IN_PLACE and REASONS_OUTPUT not in wanted and BASELINE_OUTPUT not in wanted
    # Where all threads are busy it may have become too late before one is free.
    return in_time() if is_quick else await run_in_threadpool(in_time)


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
    message = validate_json(_REQUEST, await read_body(request, limit_bytes=BODY_LIMIT_BYTES))
    definition = model.definition
    columns, n_rows = _columns(message, frozenset(definition.required + definition.optional))
    wanted = _wanted(message, definition, n_rows)
    try:
        outputs = await _infer(model, columns, n_rows, wanted, deadline)
    except BadColumn as error:
        code = "missing" if isinstance(error, MissingColumn) else "bad_value"
        fault = FieldError(_pointer(message, error.column), code, f"{error.column} {error.reason}")
        raise InvalidInput(f"{error.column} {error.reason}.", errors=[fault]) from error
    tensors = [
        {
            "name": output,
            "shape": list(outputs[output].shape),
            "datatype": "BYTES" if output == VARIANT_OUTPUT else "FP64",
            "data": outputs[output].ravel().tolist(),
        }
        for output in wanted
    ]
    reply: dict[str, Any] = {"model_name": definition.name, "model_version": model.version, "outputs": tensors}
    if message.id is not None:
        reply["id"] = message.id
    return JsonReply(to_json(reply, inf_nan_mode="null"))
