"""Interactive documentation, its assets vendored: nothing is loaded from elsewhere, nothing is inline."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI
from starlette.responses import HTMLResponse

from telelink_gateway.whole_files import WholeFiles

ASSETS: Final = Path(__file__).parents[1] / "docs_assets"
ASSETS_PATH: Final = "/docs-assets"

router = APIRouter(include_in_schema=False)

_HEAD: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>TeleLink Customer Analytics: API</title>
"""


@router.get("/docs")
async def swagger() -> HTMLResponse:
    """Swagger UI, to try requests."""
    return HTMLResponse(
        f"""{_HEAD}<link rel="stylesheet" href="{ASSETS_PATH}/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{ASSETS_PATH}/swagger-ui-bundle.js"></script>
<script src="{ASSETS_PATH}/start-swagger.js"></script>
</body>
</html>
"""
    )


@router.get("/redoc")
async def redoc() -> HTMLResponse:
    """ReDoc, to read."""
    return HTMLResponse(
        f"""{_HEAD}</head>
<body>
<redoc spec-url="/openapi.json"></redoc>
<script src="{ASSETS_PATH}/redoc.standalone.js"></script>
</body>
</html>
"""
    )


def mount_assets(app: FastAPI) -> None:
    """Serve the vendored files."""
    app.mount(ASSETS_PATH, WholeFiles(directory=ASSETS), name="docs-assets")
