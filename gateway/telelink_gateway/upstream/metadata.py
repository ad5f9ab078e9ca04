"""What a model service says of its model, checked before anything of it is used."""

from __future__ import annotations

from pydantic import BaseModel, FiniteFloat, ValidationError
from pydantic_core import from_json

from telelink_gateway.upstream.failure import Failure
from telelink_shared.inference import ModelMetadata


class _Variant(BaseModel, strict=True):
    name: str
    needs: list[str]


class _Parameters(BaseModel, strict=True):
    """What is used of a model's own parameters, and must be of this shape where it is there."""

    input_schema_hash: str = ""
    quantiles: dict[str, dict[str, FiniteFloat]] = {}
    notes: list[str] = []
    variants: list[_Variant] = []


def checked_metadata(body: bytes, *, model: str, version: str | None, schema_hash: str) -> ModelMetadata:
    """The metadata that a service sent.

    Args:
        model, schema_hash: what it must be about.
        version: the same; None for whichever is served.

    Raises:
        Failure: it is about something else, or cannot be used.
    """
    try:
        metadata = ModelMetadata.model_validate(from_json(body))
        parameters = _Parameters.model_validate(metadata.parameters)
    except (ValueError, ValidationError) as error:
        raise Failure("malformed", "the metadata is not a message of the protocol") from error
    if metadata.name != model or not metadata.versions:
        raise Failure("model", "the metadata is about another model")
    if version is not None and version not in metadata.versions:
        raise Failure("version", "the metadata is about another version")
    if parameters.input_schema_hash != schema_hash:
        raise Failure("schema", "the service was built for another input schema than this gateway")
    return metadata
