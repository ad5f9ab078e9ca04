"""The service: the toolkit, told which model to serve."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from pydantic import Field

from telelink_churn.definition import CHURN
from telelink_shared.serving.app import ModelServiceSettings, create_model_service


class Settings(ModelServiceSettings):
    """What this service can be told."""

    port: int = Field(default=8001, ge=0, le=65_535, description="Port to listen at; 0 takes a free one and logs it")
    models_dir: Path = Field(
        default=Path(__file__).parents[1] / "models",
        description="Folder with one folder for each model, holding its versions",
    )


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; settings from the environment unless given."""
    return create_model_service(CHURN, settings or Settings.load())
