"""What the lifespan opened, and how a route asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from telelink_gateway.history.store import HistoryStore
from telelink_gateway.settings import Settings
from telelink_gateway.upstream.client import ModelClient
from telelink_shared.decision import Policy


@dataclass(frozen=True)
class Resources:
    """Everything a request may use."""

    settings: Settings
    policy: Policy
    churn: ModelClient
    clv: ModelClient
    history: HistoryStore


async def get_resources(request: Request) -> Resources:
    """The resources of the running application. A coroutine, since a plain function would hop threads."""
    resources: Resources = request.state.resources
    return resources


Uses = Annotated[Resources, Depends(get_resources)]
