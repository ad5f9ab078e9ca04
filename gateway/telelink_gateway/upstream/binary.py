"""Tensors as bytes, by the binary tensor extension of the inference protocol: for the many customers of a file.

A message is a JSON object and, right behind it, the bytes of its tensors in the order in which it names them.
Source: https://github.com/triton-inference-server/server (docs/protocol/extension_binary_data.md).
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from telelink_gateway.upstream.answer import Inputs
from telelink_gateway.upstream.failure import Failure
from telelink_shared.bulk.table import Checked
from telelink_shared.customer import CATEGORIES, COLUMNS
from telelink_shared.inference import BINARY_MEDIA_TYPE, DATA_SIZE, HEADER_LENGTH, InferResponse

_HEADERS: Final = {"content-type": BINARY_MEDIA_TYPE}


@cache
def _word(word: str) -> bytes:
    spelled = word.encode()
    return len(spelled).to_bytes(4, "little") + spelled


def _little_endian(values: array[float]) -> bytes:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def binary_inputs(checked: Checked) -> Inputs:
    """Valid rows of a file, as bytes."""
    n_rows = len(checked.good)
    heads: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for column in COLUMNS:
        if column in CATEGORIES:
            part, datatype = b"".join(map(_word, checked.words[column])), "BYTES"
        elif column in checked.numbers:
            part, datatype = _little_endian(checked.numbers[column]), "FP64"
        else:
            continue
        parts.append(part)
        heads.append({"name": column, "shape": [n_rows], "datatype": datatype, "parameters": {DATA_SIZE: len(part)}})
    return Inputs(to_json(heads), n_rows, b"".join(parts))


def json_inputs(checked: Checked) -> Inputs:
    """The same as JSON, for a service without the extension: what is not known is null."""
    n_rows = len(checked.good)
    tensors = [
        {
            "name": column,
            "shape": [n_rows],
            "datatype": "BYTES" if column in CATEGORIES else "FP64",
            "data": checked.words[column]
            if column in CATEGORIES
            else [None if value != value else value for value in checked.numbers[column]],
        }
        for column in COLUMNS
        if column in CATEGORIES or column in checked.numbers
    ]
    return Inputs(to_json(tensors), n_rows)


def headers_of(head: bytes) -> Mapping[str, str]:
    """What goes along with a message whose JSON object this is."""
    return _HEADERS | {HEADER_LENGTH: str(len(head))}


def read_reply(body: bytes, head_bytes: str) -> InferResponse:
    """A reply whose tensors may be bytes. Words among them are not read: nobody asks for them as bytes.

    Args:
        head_bytes: how long the JSON object is, as the peer wrote it.

    Raises:
        Failure: it is not what the extension says.
    """
    try:
        at = int(head_bytes)
        if not 0 < at <= len(body):
            raise ValueError("the JSON object has not the bytes that it is said to have")
        head = from_json(body[:at])
        for tensor in head["outputs"]:
            size = (tensor.get("parameters") or {}).get(DATA_SIZE)
            if size is None:
                continue
            if type(size) is not int or not 0 <= size <= len(body) - at or tensor["datatype"] != "FP64" or size % 8:
                raise ValueError("a tensor has not the bytes that it says")
            tensor["data"] = _numbers(body[at : at + size])
            at += size
        if at != len(body):
            raise ValueError("more bytes follow than the tensors have")
        return InferResponse.model_validate(head)
    except (ValueError, ValidationError, KeyError, TypeError, AttributeError) as error:
        raise Failure("malformed", "the reply is not a message of the protocol") from error


def _numbers(data: bytes) -> Sequence[float]:
    values = array("d")
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()
