"""An inference request out of the body of an HTTP request, and the reply to it: as JSON, or partly as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request
from pydantic import TypeAdapter
from pydantic_core import to_json
from starlette.responses import Response

from telelink_shared import binary_tensors
from telelink_shared.binary_tensors import BadTensor
from telelink_shared.customer import CATEGORIES
from telelink_shared.features import BadColumn, Column, words_of
from telelink_shared.inference import (
    ALL_AS_BYTES,
    AS_BYTES,
    BINARY_MEDIA_TYPE,
    DATA_SIZE,
    HEADER_LENGTH,
    BinaryInferRequest,
    BinaryTensor,
    InferRequest,
    Tensor,
)
from telelink_shared.problem import BadRequest, FieldError, InvalidInput, TooLarge
from telelink_shared.serving.definition import BASELINE_OUTPUT, REASONS_OUTPUT, VARIANT_OUTPUT, ModelDefinition, Outputs
from telelink_shared.serving.model import LoadedModel, MissingColumn
from telelink_shared.web.headers import values_of
from telelink_shared.web.json_body import Shape, must_be_utf8, read_body, read_bytes, validate_json
from telelink_shared.web.json_reply import JsonReply

# 10,000 customers as V2 JSON have about 2 MB.
BODY_LIMIT_BYTES = 16 * 1024 * 1024

# As bytes that many customers have 4 MB at most. More at once would be no faster, only take more memory.
MAX_BINARY_ROWS: Final = 25_000

# Reasons cost 512 rows for each customer.
MAX_ROWS_WITH_REASONS: Final = 1_000
_MAX_LENGTH_DIGITS: Final = 9
_NO_BYTES: Final = memoryview(b"")
# A quarter more than 10,000 customers have, who are four times what the gateway asks for at once.
_MAX_VALUES: Final = 250_000


def _n_members(message: InferRequest) -> int:
    """Of those that the gateway sends: an id, what is required, and the outputs by name."""
    n_outputs = 0 if message.outputs is None else 1 + len(message.outputs)
    return (message.id is not None) + 1 + 4 * len(message.inputs) + n_outputs


_REQUEST: Final = Shape(TypeAdapter(InferRequest), _n_members, max_values=_MAX_VALUES)
# Short, so that looking closely at its names costs little.
_BINARY_REQUEST: Final = Shape(TypeAdapter(BinaryInferRequest), lambda _message: 0, max_values=_MAX_VALUES)

Message = InferRequest | BinaryInferRequest


async def read_message(request: Request) -> tuple[Message, memoryview]:
    """The request, and the bytes that follow it.

    Raises:
        Problem
    """
    lengths = values_of(request.scope, HEADER_LENGTH.lower().encode())
    if not lengths:
        return validate_json(_REQUEST, await read_body(request, limit_bytes=BODY_LIMIT_BYTES)), _NO_BYTES
    body = await read_bytes(request, limit_bytes=BODY_LIMIT_BYTES)
    length = lengths[0]
    is_number = length.isascii() and length.isdigit() and len(length) <= _MAX_LENGTH_DIGITS
    if not is_number or int(length) > len(body):
        raise BadRequest(f"{HEADER_LENGTH} must be the length in bytes of the body's JSON object.")
    head = body[: int(length)]
    must_be_utf8(head)
    return validate_json(_BINARY_REQUEST, head), memoryview(body)[int(length) :]


def _parts(message: BinaryInferRequest, data: memoryview) -> list[memoryview | None]:
    """The bytes of each input, in their order; None for one that has its values in the message."""
    parts: list[memoryview | None] = []
    at, errors = 0, []
    for position, tensor in enumerate(message.inputs):
        size = (tensor.parameters or {}).get(DATA_SIZE)
        pointer = f"/inputs/{position}"
        if (size is None) == (tensor.data is None):
            fault = "must be given, here or as bytes" if size is None else "must not be given twice, here and as bytes"
            errors.append(FieldError(f"{pointer}/data", "missing" if size is None else "duplicate_data", fault))
        elif size is not None and (type(size) is not int or not 0 <= size <= len(data) - at):
            pointer = f"{pointer}/parameters/{DATA_SIZE}"
            errors.append(FieldError(pointer, "wrong_size", "must be a number of bytes that follow the JSON object"))
            break
        parts.append(None if size is None else data[at : at + size])
        at += size or 0
    if errors:
        raise InvalidInput("Some inputs are not valid; see 'errors'.", errors=errors)
    if at != len(data):
        raise BadRequest("More bytes follow the JSON object than its tensors have.")
    return parts


def _values(tensor: Tensor | BinaryTensor, part: memoryview | None, n_rows: int) -> Column:
    if part is not None:
        return binary_tensors.decode(part, tensor.datatype, n_rows)
    values: list[Any] = tensor.data or []
    # The protocol allows [[a], [b]] for a shape of [n, 1].
    if len(tensor.shape) == 2 and values and isinstance(values[0], list):
        values = [row[0] if isinstance(row, list) and len(row) == 1 else row for row in values]
    if len(values) != n_rows:
        raise BadTensor("must have as many values as the shape says")
    return values


def _columns(message: Message, data: memoryview, known: frozenset[str]) -> tuple[dict[str, Column], int]:
    tensors: Sequence[Tensor | BinaryTensor] = message.inputs
    n_rows = tensors[0].shape[0]
    if data and n_rows > MAX_BINARY_ROWS:
        raise TooLarge(f"At most {MAX_BINARY_ROWS:,} rows at once. Split them into several requests.")
    parts = _parts(message, data) if isinstance(message, BinaryInferRequest) else [None] * len(tensors)
    columns: dict[str, Column] = {}
    errors = []
    for position, (tensor, part) in enumerate(zip(tensors, parts, strict=True)):
        pointer = f"/inputs/{position}"
        if tensor.name not in known:
            errors.append(FieldError(f"{pointer}/name", "unknown_tensor", "is not an input of this model"))
        elif tensor.name in columns:
            errors.append(FieldError(f"{pointer}/name", "duplicate_tensor", "is given twice"))
        elif tensor.shape not in ([n_rows], [n_rows, 1]):
            errors.append(FieldError(f"{pointer}/shape", "wrong_shape", f"must be [{n_rows}] like the first input's"))
        elif (tensor.datatype == "BYTES") > (tensor.name in CATEGORIES):
            errors.append(FieldError(f"{pointer}/datatype", "wrong_datatype", "must be FP64"))
        else:
            try:
                columns[tensor.name] = _values(tensor, part, n_rows)
            except BadTensor as error:
                errors.append(FieldError(f"{pointer}/data", error.code, str(error)))
    if errors:
        raise InvalidInput("Some inputs are not valid; see 'errors'.", errors=errors)
    return columns, n_rows


def invalid_column(message: Message, error: BadColumn) -> InvalidInput:
    """The problem that a model has with one of the inputs."""
    names = [tensor.name for tensor in message.inputs]
    pointer = f"/inputs/{names.index(error.column)}/data" if error.column in names else "/inputs"
    code = "missing" if isinstance(error, MissingColumn) else "bad_value"
    fault = FieldError(pointer, code, f"{error.column} {error.reason}")
    return InvalidInput(f"{error.column} {error.reason}.", errors=[fault])


def _wanted(request: Message, definition: ModelDefinition, n_rows: int) -> Sequence[str]:
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


@dataclass(frozen=True)
class Question:
    """A request that is in order, as far as can be seen before the model is asked.

    Attributes:
        wanted: names of the outputs to give.
        as_bytes: which of them are to come as bytes.
    """

    message: Message
    columns: dict[str, Column]
    n_rows: int
    wanted: Sequence[str]
    as_bytes: Sequence[bool]


def question_of(message: Message, data: memoryview, definition: ModelDefinition) -> Question:
    """What is asked of the model.

    Raises:
        InvalidInput, BadRequest, TooLarge
    """
    columns, n_rows = _columns(message, data, frozenset(definition.required + definition.optional))
    wanted = _wanted(message, definition, n_rows)
    return Question(message, columns, n_rows, wanted, _as_bytes(message, wanted))


def _is_flag(parameters: dict[str, Any] | None, name: str, pointer: str, *, default: bool) -> bool:
    value = default if parameters is None else parameters.get(name, default)
    if not isinstance(value, bool):
        fault = FieldError(f"{pointer}/parameters/{name}", "bool_type", "must be true or false")
        raise InvalidInput("A parameter is not valid; see 'errors'.", errors=[fault])
    return value


def _as_bytes(message: Message, wanted: Sequence[str]) -> Sequence[bool]:
    default = _is_flag(message.parameters, ALL_AS_BYTES, "", default=False)
    if message.outputs is None:
        return [default] * len(wanted)
    return [
        _is_flag(output.parameters, AS_BYTES, f"/outputs/{position}", default=default)
        for position, output in enumerate(message.outputs)
    ]


def reply_of(model: LoadedModel, question: Question, outputs: Outputs) -> Response:
    """A JSON object, and behind it the outputs that are wanted as bytes."""
    tensors, parts = [], []
    for name, as_bytes in zip(question.wanted, question.as_bytes, strict=True):
        values, is_words = outputs[name], name == VARIANT_OUTPUT
        tensor: dict[str, Any] = {
            "name": name,
            "shape": list(values.shape),
            "datatype": "BYTES" if is_words else "FP64",
        }
        if as_bytes:
            part = binary_tensors.encode_words(words_of(values)) if is_words else binary_tensors.encode_numbers(values)
            tensor["parameters"] = {DATA_SIZE: len(part)}
            parts.append(part)
        else:
            tensor["data"] = values.ravel().tolist()
        tensors.append(tensor)
    reply: dict[str, Any] = {"model_name": model.definition.name, "model_version": model.version, "outputs": tensors}
    if question.message.id is not None:
        reply["id"] = question.message.id
    head = to_json(reply, inf_nan_mode="null")
    if not parts:
        return JsonReply(head)
    length = {HEADER_LENGTH: str(len(head))}
    return Response(b"".join([head, *parts]), headers=length, media_type=BINARY_MEDIA_TYPE)
