"""Messages between the gateway and model services: the Open Inference Protocol V2 over REST.

Numbers that are not known travel as `null` in an FP64 tensor, since JSON has no NaN.
Source: https://github.com/kserve/open-inference-protocol (REST API, version 2).
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

DEADLINE_HEADER: Final = "x-deadline-ms"
"""Our addition to a request: for how many more milliseconds its sender waits. Whoever is later need not begin."""

BINARY_EXTENSION: Final = "binary_tensor_data"
"""The name of the binary tensor extension (`binary_tensors`) in a server's metadata."""

HEADER_LENGTH: Final = "inference-header-content-length"
"""The header with the length of the JSON object, in bytes."""

DATA_SIZE: Final = "binary_data_size"
"""The parameter of a tensor that says how many bytes are its own."""

AS_BYTES: Final = "binary_data"
"""The parameter of a requested output that says whether it is to come as bytes."""

ALL_AS_BYTES: Final = "binary_data_output"
"""The parameter of a request that says the same for all outputs that do not say it themselves."""

BINARY_MEDIA_TYPE: Final = "application/octet-stream"

Datatype = Literal["BYTES", "FP64", "FP32", "INT64", "INT32", "BOOL"]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Size = Annotated[int, Field(ge=0, le=1_000_000)]


class _Message(BaseModel):
    # Messages change by addition: what a newer peer adds is ignored. `model_` is the protocol's own prefix.
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class _TensorHead(_Message):
    name: Name
    shape: list[Size] = Field(min_length=1, max_length=2)
    datatype: Datatype
    parameters: dict[str, Any] | None = None


class Tensor(_TensorHead):
    """Values of one column, first dimension the batch; `data` may be flat or nested, as the protocol allows."""

    data: list[Any]


class BinaryTensor(_TensorHead):
    """The same, with the values perhaps as bytes behind the message; see `binary_tensors`."""

    data: list[Any] | None = None


class RequestedOutput(_Message):
    """An output asked for by name."""

    name: Name
    parameters: dict[str, Any] | None = None


class _Request(_Message):
    id: str | None = Field(default=None, max_length=128)
    parameters: dict[str, Any] | None = None
    outputs: list[RequestedOutput] | None = Field(default=None, max_length=128)


class InferRequest(_Request):
    """One input tensor for each raw column. Without `outputs` the model's standard outputs are given."""

    inputs: list[Tensor] = Field(min_length=1, max_length=128)


class BinaryInferRequest(_Request):
    """The same where bytes follow."""

    inputs: list[BinaryTensor] = Field(min_length=1, max_length=128)


class _Reply(_Message):
    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, Any] | None = None


class InferResponse(_Reply):
    """Names the model and the version that answered."""

    outputs: list[Tensor]


class BinaryInferResponse(_Reply):
    """The same where bytes follow."""

    outputs: list[BinaryTensor]


class TensorMetadata(_Message):
    """A tensor's name, datatype and shape; -1 is any size."""

    name: str
    datatype: Datatype
    shape: list[int]
    parameters: dict[str, Any] | None = None


class ModelMetadata(_Message):
    """A model's signature. `parameters` is our addition: schema hash, metrics, quantiles, notes."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, Any] = Field(default_factory=dict)


class ServerMetadata(_Message):
    """The server's name, version and protocol extensions."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(_Message):
    """Whether the process answers."""

    live: bool


class ServerReady(_Message):
    """Whether every model of the server can answer."""

    ready: bool


class ModelReady(_Message):
    """Whether one model can answer."""

    name: str
    ready: bool


class RepositoryIndexRequest(_Message):
    """Which versions to list: all that are on disk, or only those that answer."""

    ready: bool = False


class RepositoryEntry(_Message):
    """A version on disk; the one with state READY answers, and `reason` says why another does not."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class RepositoryParameters(_Message):
    """The version that is meant; without it the one that is to be served (load), or is served (unload)."""

    version: Name | None = None


class RepositoryRequest(_Message):
    """Loads or unloads a version of a model."""

    parameters: RepositoryParameters = RepositoryParameters()
