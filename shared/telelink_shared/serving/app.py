"""A model service from a model's definition."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI
from pydantic import Field

from telelink_shared.artifact import ArtifactError
from telelink_shared.inference import InferRequest, RepositoryIndexRequest, RepositoryRequest
from telelink_shared.serving import repository_routes, routes
from telelink_shared.serving.definition import ModelDefinition
from telelink_shared.serving.model import Runtime
from telelink_shared.serving.repository import Repository
from telelink_shared.web.app import FurnishedApp
from telelink_shared.web.openapi import describe_bodies
from telelink_shared.web.settings import ServiceSettings
from telelink_shared.web.startup import StartupError

VERSION = "2.3.0"

log = structlog.get_logger()


class ModelServiceSettings(ServiceSettings):
    """What a model service can be told."""

    models_dir: Path = Field(description="Folder with one folder for each model, holding its versions")
    model_runtime: Runtime = Field(
        default="onnx", description="What runs the model: onnx, or sklearn where scikit-learn is installed"
    )


def create_model_service(definition: ModelDefinition, settings: ModelServiceSettings) -> FastAPI:
    """The service of one model. It is ready only after hashes, schema and golden rows have been checked."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        try:
            repository = Repository(definition, settings.models_dir, settings.model_runtime)
        except ArtifactError as error:
            raise StartupError(str(error)) from error
        log.info("model loaded", model=definition.name, version=repository.model.version)
        yield {"repository": repository}

    app = FurnishedApp(
        title=f"TeleLink {definition.title}",
        version=VERSION,
        description="A model behind the Open Inference Protocol V2.",
        lifespan=lifespan,
        direct={f"/v2/models/{definition.name}/infer": routes.infer_served},
    )
    app.include_router(routes.router)
    app.include_router(repository_routes.router)
    describe_bodies(app, InferRequest, RepositoryIndexRequest, RepositoryRequest)
    return app
