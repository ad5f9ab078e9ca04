"""Writes the OpenAPI documents that tests/contract compares with; `make openapi` calls it after a wanted change."""

import json
from pathlib import Path

import telelink_churn.app
import telelink_clv.app
import telelink_gateway.app
import telelink_gateway.settings

APPS = {
    "churn-service": lambda: telelink_churn.app.create_app(telelink_churn.app.Settings()),
    "clv-service": lambda: telelink_clv.app.create_app(telelink_clv.app.Settings()),
    "gateway": lambda: telelink_gateway.app.create_app(telelink_gateway.settings.Settings()),
}

for name, make in APPS.items():
    path = Path(__file__).parent / "contract" / "openapi" / f"{name}.json"
    path.write_text(json.dumps(make().openapi(), indent=1) + "\n", encoding="utf-8")
