"""A job as it goes on, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from telelink_gateway.jobs.store import FINISHED, Job
from telelink_gateway.resources import Resources, Uses
from telelink_gateway.routes.jobs.lookup import RESPONSES, JobId, job_of
from telelink_gateway.routes.jobs.replies import NO_STORE, reply_of
from telelink_shared.problem import Problem
from telelink_shared.web.health import Lifecycle

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_LOOK_S: Final = 0.5
# nginx gives up on whoever says nothing for 15 seconds.
_HEARTBEAT_S: Final = 5.0
# Each takes one of the places of those whom the gateway answers at once.
MOST_LISTENERS: Final = 32


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    responses={
        **RESPONSES,
        200: {
            "description": "Events `progress`, each a job as `GET /v1/jobs/{job_id}` tells it, and `finished` last",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        204: {"description": "`Last-Event-ID` is that of the last event: there will be no more"},
    },
    openapi_extra={
        "parameters": [
            {
                "name": "Last-Event-ID",
                "in": "header",
                "required": False,
                "description": "The last event that was received: only later ones are told",
                "schema": {"type": "string"},
            }
        ]
    },
)
async def events(request: Request, uses: Uses, job_id: JobId) -> Response:
    """The job as it goes on, as server-sent events."""
    job = await job_of(request, uses, job_id)
    seen = request.headers.get("last-event-id", "")
    if job.state in FINISHED and seen == str(job.revision):
        return Response(status_code=204, headers=NO_STORE)
    with_room = uses.jobs.n_listeners < MOST_LISTENERS
    # Beyond that, one event, and when to ask again: what polling would be.
    stream = _events(request, uses, job, seen) if with_room else _one_event(job)
    # A proxy must hand on each event at once.
    headers = NO_STORE | {"X-Accel-Buffering": "no"}
    return StreamingResponse(stream, headers=headers, media_type="text/event-stream")


def _event(job: Job, *, retry_ms: int = 1_000) -> bytes:
    name = b"finished" if job.state in FINISHED else b"progress"
    return b"retry: %d\nid: %d\nevent: %b\ndata: %b\n\n" % (
        retry_ms,
        job.revision,
        name,
        reply_of(job).model_dump_json().encode(),
    )


async def _one_event(job: Job) -> AsyncIterator[bytes]:
    yield _event(job, retry_ms=5_000)


def _may_go_on(request: Request, uses: Resources) -> bool:
    """Not once the key was revoked, or whoever listens has signed out, nor when this process is about to stop."""
    lifecycle: Lifecycle = request.app.state.lifecycle
    try:
        if uses.access is not None:
            uses.access.key_of("GET", dict(request.scope["headers"]))
    except Problem:
        return False
    return lifecycle.is_ready


async def _events(request: Request, uses: Resources, job: Job, seen: str) -> AsyncIterator[bytes]:
    """Until the job has finished, or nothing more may be told: the client then asks again, perhaps another process."""
    loop = asyncio.get_running_loop()
    with uses.jobs.listening():
        said_at = loop.time()
        # The head of the reply goes out with this.
        yield b": hello\n\n"
        found: Job | None = job
        while found is not None and _may_go_on(request, uses):
            if seen != str(found.revision):
                seen, said_at = str(found.revision), loop.time()
                yield _event(found)
                if found.state in FINISHED:
                    return
            elif loop.time() - said_at > _HEARTBEAT_S:
                said_at = loop.time()
                yield b": still here\n\n"
            await asyncio.sleep(_LOOK_S)
            found = await uses.jobs.call(uses.jobs.store.find, job.id)
