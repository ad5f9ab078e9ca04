"""A model service from a model's definition."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import structlog
from fastapi import FastAPI
from pydantic import Field

from telelink_shared.artifact import ArtifactError
from telelink_shared.inference import InferRequest
from telelink_shared.serving.definition import ModelDefinition
from telelink_shared.serving.model import load_model
from telelink_shared.serving.routes import router
from telelink_shared.web.app import furnished_app
from telelink_shared.web.openapi import describe_bodies
from telelink_shared.web.settings import ServiceSettings
from telelink_shared.web.startup import StartupError

VERSION = "2.0.0"

log = structlog.get_logger()


class ModelServiceSettings(ServiceSettings):
    """What a model service can be told."""

    models_dir: Path = Field(description="Folder with one folder for each model, holding its versions")
    model_runtime: Literal["onnx"] = Field(default="onnx", description="What runs the model")


def create_model_service(definition: ModelDefinition, settings: ModelServiceSettings) -> FastAPI:
    """The service of one model. It is ready only after hashes, schema and golden rows have been checked."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        try:
            model = load_model(definition, settings.models_dir)
        except ArtifactError as error:
            raise StartupError(str(error)) from error
        log.info("model loaded", model=definition.name, version=model.version)
        yield {"model": model}

    app = furnished_app(
        title=f"TeleLink {definition.title}",
        version=VERSION,
        description="A model behind the Open Inference Protocol V2.",
        lifespan=lifespan,
    )
    app.include_router(router)
    describe_bodies(app, InferRequest)
    return app
