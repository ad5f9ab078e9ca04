"""Inference messages with tensors as bytes, by the extension's text alone: nothing of the product's own is used."""

from __future__ import annotations

import json
import struct
from typing import Any

from telelink_shared.customer import CATEGORIES

HEADER = "Inference-Header-Content-Length"
_NUMBERS = {"FP64": "d", "FP32": "f", "INT64": "q", "INT32": "i", "BOOL": "?"}


def as_bytes(values: list[Any], datatype: str) -> bytes:
    """A tensor's bytes; None is NaN."""
    if datatype == "BYTES":
        words = [str(value).encode() for value in values]
        return b"".join(struct.pack("<I", len(word)) + word for word in words)
    numbers = [float("nan") if value is None else value for value in values]
    return struct.pack(f"<{len(numbers)}{_NUMBERS[datatype]}", *numbers)


def binary_message(
    columns: dict[str, list[Any]],
    *,
    outputs: list[str] | None = None,
    datatypes: dict[str, str] | None = None,
    id: str | None = None,
) -> tuple[bytes, bytes]:
    """A request as Triton's client writes it: the JSON object, and the bytes that follow."""
    parts, inputs = [], []
    for name, values in columns.items():
        datatype = (datatypes or {}).get(name, "BYTES" if name in CATEGORIES else "FP64")
        part = as_bytes(values, datatype)
        parts.append(part)
        head = {"name": name, "shape": [len(values)], "datatype": datatype}
        inputs.append(head | {"parameters": {"binary_data_size": len(part)}})
    message: dict[str, Any] = {} if id is None else {"id": id}
    message["inputs"] = inputs
    if outputs is None:
        message["parameters"] = {"binary_data_output": True}
    else:
        message["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    return json.dumps(message, separators=(",", ":")).encode(), b"".join(parts)


def read_tensors(body: bytes, head_length: int) -> dict[str, list[Any]]:
    """Values by name; those that came as bytes are read from them, words as text."""
    head, at, tensors = json.loads(body[:head_length]), head_length, {}
    for tensor in head["outputs"]:
        if "data" in tensor:
            tensors[tensor["name"]] = tensor["data"]
            continue
        size = tensor["parameters"]["binary_data_size"]
        part, at = body[at : at + size], at + size
        if tensor["datatype"] == "BYTES":
            values: list[Any] = []
            while part:
                (length,) = struct.unpack_from("<I", part)
                values.append(part[4 : 4 + length].decode())
                part = part[4 + length :]
        else:
            values = list(struct.unpack(f"<{size // 8}d", part))
        tensors[tensor["name"]] = values
    assert at == len(body)
    return tensors
