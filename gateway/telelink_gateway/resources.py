"""What the lifespan opened, and how a route asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from telelink_gateway.api_keys.guard import Access
from telelink_gateway.history.history import History
from telelink_gateway.jobs.jobs import Jobs
from telelink_gateway.predicting import Models
from telelink_gateway.settings import Settings


@dataclass(frozen=True)
class Resources:
    """Everything a request may use.

    Attributes:
        access: None in demo mode, where everybody may do everything.
    """

    settings: Settings
    models: Models
    history: History
    jobs: Jobs
    access: Access | None = None


def resources_of(request: Request) -> Resources:
    """The resources of the running application."""
    resources: Resources = request.scope["state"]["resources"]
    return resources


async def get_resources(request: Request) -> Resources:
    """The same for a signature. A coroutine, since a plain function would hop threads."""
    return resources_of(request)


Uses = Annotated[Resources, Depends(get_resources)]
