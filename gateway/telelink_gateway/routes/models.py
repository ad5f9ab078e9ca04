"""GET /v1/models: what each service says of its model. The gateway adds what the original claimed, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from telelink_gateway.claims import CLAIMED
from telelink_gateway.predicting import Models
from telelink_gateway.resources import Uses
from telelink_gateway.upstream.client import ModelClient
from telelink_gateway.upstream.service import ModelService
from telelink_gateway.upstream.status import ServiceState
from telelink_shared.inference import ModelMetadata
from telelink_shared.problem import ModelUnavailable, NotFound

T = TypeVar("T")

router = APIRouter(prefix="/v1/models", tags=["models"])

_RETRY_AFTER_S: Final = 2
_INTERVAL: Final = "_interval"


class ModelSummary(BaseModel):
    """A model, as the service that serves it says."""

    name: str
    service: str
    state: ServiceState
    version: str | None = Field(description="The one that answers; null: the service has not said yet")
    versions_on_disk: list[str] | None = Field(description="Oldest first; null: the service does not say")
    created_at: str | None


class ModelsReply(BaseModel):
    """Every model."""

    models: list[ModelSummary]


class MetricReply(BaseModel):
    """A figure that was measured on rows that were not fitted on."""

    metric: str
    value: FiniteFloat
    interval: tuple[FiniteFloat, FiniteFloat] | None = Field(description="95 %, bootstrap")


class ReliabilityBin(BaseModel):
    """How many really left of those to whom about the same probability was given."""

    model_config = ConfigDict(extra="ignore")

    stated: FiniteFloat = Field(description="Mean probability")
    share: FiniteFloat = Field(description="Share that left")
    share_interval: tuple[FiniteFloat, FiniteFloat] = Field(description="95 %, Wilson")
    rows: int


class VariantReply(BaseModel):
    """One variant of a model, best first: a customer is answered by the first of which all needs are known."""

    name: str
    needs: list[str]
    rows: int | None = Field(description="Rows it was measured on")
    metrics: list[MetricReply]
    reliability: list[ReliabilityBin]


class ClaimReply(BaseModel):
    """What the original project's README claims, of no variant in particular."""

    metric: str
    claimed: float


class TrainingData(BaseModel):
    """What the model was trained on."""

    model_config = ConfigDict(extra="ignore")

    source: str | None = None
    rows: int | None = None
    fingerprint: str | None = None
    target_is_simulated: bool = False


class OutputReply(BaseModel):
    """What the model answers."""

    name: str
    unit: str | None


class ModelReply(ModelSummary):
    """A model's card. What a service does not say is null or empty."""

    platform: str
    outputs: list[OutputReply]
    data: TrainingData | None
    reported_on: str | None = Field(description="Rows that the metrics were measured on")
    variants: list[VariantReply]
    claims: list[ClaimReply]
    drivers: dict[str, dict[str, FiniteFloat]] = Field(
        description="By variant: mean size of each group of fields' Shapley value, in the main output's unit"
    )
    reference: dict[str, str | FiniteFloat] = Field(
        description="The customer that drivers and reasons are told against"
    )
    libraries: dict[str, str]
    notes: list[str]
    card: str | None = Field(description="The whole model card, in Markdown")


def _told(shape: Any, value: Any, otherwise: T) -> T:
    """A part of the metadata where it is of the shape; what another make of server puts there is no error."""
    try:
        told: T = TypeAdapter(shape).validate_python(value)
    except ValidationError:
        return otherwise
    return told


def _metrics(measured: Mapping[str, Any]) -> list[MetricReply]:
    return [
        MetricReply(
            metric=name,
            value=value,
            interval=_told(tuple[FiniteFloat, FiniteFloat] | None, measured.get(f"{name}{_INTERVAL}"), None),
        )
        for name, value in measured.items()
        if _told(Annotated[FiniteFloat, Field(strict=True)] | None, value, None) is not None and name != "rows"
    ]


def _variant(variant: Mapping[str, Any], measured: Mapping[str, Any]) -> VariantReply:
    return VariantReply(
        name=variant["name"],
        needs=variant["needs"],
        rows=_told(int | None, measured.get("rows"), None),
        metrics=_metrics(measured),
        reliability=_told(list[ReliabilityBin], measured.get("reliability"), []),
    )


def _summary(service: ModelService, state: ServiceState) -> dict[str, Any]:
    metadata = service.latest_metadata
    parameters = metadata.parameters if metadata else {}
    return {
        "name": service.model,
        "service": service.name,
        "state": state,
        "version": metadata.versions[-1] if metadata else None,
        "versions_on_disk": _told(list[str] | None, parameters.get("versions_on_disk"), None),
        "created_at": _told(str | None, parameters.get("created_at"), None),
    }


def _card(metadata: ModelMetadata) -> dict[str, Any]:
    told = metadata.parameters
    metrics: dict[str, Any] = _told(dict[str, Any], told.get("metrics"), {})
    measured: dict[str, dict[str, Any]] = _told(dict[str, dict[str, Any]], metrics.get("variants"), {})
    return {
        "platform": metadata.platform,
        "outputs": [
            OutputReply(name=each.name, unit=_told(str | None, (each.parameters or {}).get("unit"), None))
            for each in metadata.outputs
            if each.datatype == "FP64" and not (each.parameters or {}).get("on_request")
        ],
        "data": _told(TrainingData | None, told.get("data"), None),
        "reported_on": _told(str | None, metrics.get("reported_on"), None),
        # Of this shape, or the metadata had been refused.
        "variants": [_variant(each, measured.get(each["name"], {})) for each in told.get("variants", [])],
        "claims": [
            ClaimReply(metric=metric, claimed=claimed) for metric, claimed in CLAIMED.get(metadata.name, {}).items()
        ],
        "drivers": _told(dict[str, dict[str, FiniteFloat]], metrics.get("drivers"), {}),
        "reference": _told(dict[str, str | FiniteFloat], told.get("reference"), {}),
        "libraries": _told(dict[str, str], told.get("libraries"), {}),
        "notes": list(told.get("notes", [])),
        "card": _told(str | None, told.get("card"), None),
    }


def _clients(models: Models) -> tuple[ModelClient, ModelClient]:
    return models.churn.client, models.clv.client


@router.get("")
async def models(uses: Uses) -> ModelsReply:
    """Both models, whether or not their services can be reached."""
    clients = _clients(uses.models)
    statuses = await asyncio.gather(*(client.status() for client in clients))
    return ModelsReply(
        models=[
            ModelSummary(**_summary(client.service, status.state))
            for client, status in zip(clients, statuses, strict=True)
        ]
    )


@router.get("/{name}")
async def model(uses: Uses, name: str) -> ModelReply:
    """A model's card; where its service cannot be reached, as it last was."""
    client = next((each for each in _clients(uses.models) if each.service.model == name), None)
    if client is None:
        raise NotFound("There is no model of this name.")
    status = await client.status()
    service = client.service
    if service.latest_metadata is None:
        raise ModelUnavailable(f"The {service.name} has not been reached yet.", retry_after_s=_RETRY_AFTER_S)
    return ModelReply(**_summary(service, status.state), **_card(service.latest_metadata))
