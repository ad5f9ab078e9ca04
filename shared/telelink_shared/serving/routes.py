"""The Open Inference Protocol V2 over one loaded model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Request
from pydantic import TypeAdapter
from pydantic_core import to_json
from starlette.responses import JSONResponse, Response

from telelink_shared.artifact import input_schema_hash
from telelink_shared.customer import CATEGORIES
from telelink_shared.features import BadColumn
from telelink_shared.inference import (
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
from telelink_shared.problem import FieldError, InvalidInput, NotFound
from telelink_shared.serving.definition import VARIANT_OUTPUT
from telelink_shared.serving.model import LoadedModel, MissingColumn
from telelink_shared.web.json_body import read_body, validate_json
from telelink_shared.web.openapi import json_body_of

# 10,000 customers as V2 JSON have about 2 MB.
BODY_LIMIT_BYTES = 16 * 1024 * 1024

_REQUEST = TypeAdapter(InferRequest)

router = APIRouter(prefix="/v2")


async def get_model(request: Request) -> LoadedModel:
    """The model that the lifespan loaded."""
    model: LoadedModel = request.state.model
    return model


Model = Annotated[LoadedModel, Depends(get_model)]


def _named(model: LoadedModel, name: str, version: str | None) -> None:
    if name != model.definition.name:
        raise NotFound(f"This service serves the model '{model.definition.name}' only.")
    if version is not None and version != model.version:
        raise NotFound(f"This service serves version {model.version} of the model only.")


@router.get("")
async def server_metadata(request: Request) -> ServerMetadata:
    """Name and version of this server."""
    return ServerMetadata(name=request.app.title, version=request.app.version, extensions=[])


@router.get("/health/live")
async def live() -> ServerLive:
    """Whether the process answers."""
    return ServerLive(live=True)


@router.get("/health/ready", response_model=ServerReady)
async def ready(request: Request) -> Response:
    """200 when requests are welcome; 503 while the service stops."""
    is_ready = request.app.state.lifecycle.is_ready
    return JSONResponse({"ready": is_ready}, status_code=200 if is_ready else 503)


@router.get("/models/{name}")
@router.get("/models/{name}/versions/{version}")
async def model_metadata(name: str, model: Model, version: str | None = None) -> ModelMetadata:
    """Inputs and outputs, and under `parameters` the schema hash, training metrics, quantiles and notes."""
    _named(model, name, version)
    definition, manifest = model.definition, model.manifest
    optional = {column: {"optional": True} for column in definition.optional}
    return ModelMetadata(
        name=definition.name,
        versions=[model.version],
        platform="onnxruntime",
        inputs=[
            TensorMetadata(
                name=column,
                datatype="BYTES" if column in CATEGORIES else "FP64",
                shape=[-1],
                parameters=optional.get(column),
            )
            for column in (*definition.required, *definition.optional)
        ],
        outputs=[
            TensorMetadata(
                name=output.name,
                datatype="FP64",
                shape=[-1],
                parameters={"unit": output.unit, "lower": output.lower, "upper": output.upper},
            )
            for output in definition.outputs
        ]
        + [TensorMetadata(name=VARIANT_OUTPUT, datatype="BYTES", shape=[-1], parameters={"on_request": True})],
        parameters={
            "input_schema_hash": input_schema_hash(definition.required),
            "created_at": manifest.created_at,
            "data": manifest.data,
            "metrics": manifest.metrics,
            "quantiles": manifest.quantiles,
            "variants": [{"name": variant.name, "needs": list(variant.needs)} for variant in manifest.variants],
            "notes": list(manifest.notes),
        },
    )


@router.get("/models/{name}/ready", response_model=ModelReady)
@router.get("/models/{name}/versions/{version}/ready", response_model=ModelReady)
async def model_ready(request: Request, name: str, model: Model, version: str | None = None) -> Response:
    """200 when this model can answer; 503 while the service stops."""
    _named(model, name, version)
    is_ready = request.app.state.lifecycle.is_ready
    return JSONResponse({"name": name, "ready": is_ready}, status_code=200 if is_ready else 503)


def _values(tensor: Tensor) -> Sequence[Any]:
    # The protocol allows [[a], [b]] for a shape of [n, 1].
    if tensor.data and isinstance(tensor.data[0], list):
        return [value for row in tensor.data for value in (row if isinstance(row, list) else [row])]
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


def _wanted(request: InferRequest, standard: Sequence[str], available: Mapping[str, Any]) -> Sequence[str]:
    if request.outputs is None:
        return standard
    names = [output.name for output in request.outputs]
    for position, name in enumerate(names):
        if name not in available:
            error = FieldError(f"/outputs/{position}/name", "unknown_tensor", "is not an output of this model")
            raise InvalidInput("This model has no such output.", errors=[error])
    return names


@router.post("/models/{name}/infer", response_model=InferResponse, openapi_extra=json_body_of(InferRequest))
@router.post(
    "/models/{name}/versions/{version}/infer", response_model=InferResponse, openapi_extra=json_body_of(InferRequest)
)
async def infer(request: Request, name: str, model: Model, version: str | None = None) -> Response:
    """Answer a batch of rows: one input tensor for each raw column, first dimension the batch."""
    _named(model, name, version)
    message = validate_json(_REQUEST, await read_body(request, limit_bytes=BODY_LIMIT_BYTES))
    definition = model.definition
    columns, n_rows = _columns(message, frozenset(definition.required + definition.optional))
    try:
        outputs = model.infer(columns, n_rows=n_rows)
    except BadColumn as error:
        code = "missing" if isinstance(error, MissingColumn) else "bad_value"
        fault = FieldError(_pointer(message, error.column), code, f"{error.column} {error.reason}")
        raise InvalidInput(f"{error.column} {error.reason}.", errors=[fault]) from error
    standard = [output.name for output in definition.outputs]
    tensors = [
        {
            "name": output,
            "shape": [n_rows],
            "datatype": "BYTES" if output == VARIANT_OUTPUT else "FP64",
            "data": np.asarray(outputs[output]).tolist(),
        }
        for output in _wanted(message, standard, outputs)
    ]
    reply: dict[str, Any] = {"model_name": definition.name, "model_version": model.version, "outputs": tensors}
    if message.id is not None:
        reply["id"] = message.id
    return Response(to_json(reply, inf_nan_mode="null"), media_type="application/json")
