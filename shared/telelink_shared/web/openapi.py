"""Describes bodies that a route reads by itself, so that the OpenAPI document is as if the framework had read them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

_REFERENCE = "#/components/schemas/{model}"


def json_body_of(model: type[BaseModel], *, many: bool = False, required: bool = True) -> dict[str, Any]:
    """The `openapi_extra` of a route whose body is one `model`, or an array of them."""
    schema: dict[str, Any] = {"$ref": _REFERENCE.format(model=model.__name__)}
    if many:
        schema = {"type": "array", "items": schema}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def describe_bodies(app: FastAPI, *models: type[BaseModel]) -> None:
    """Make `app` list these models among its schemas."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            _, ours = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE)
            schema.setdefault("components", {}).setdefault("schemas", {}).update(ours["$defs"])
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
