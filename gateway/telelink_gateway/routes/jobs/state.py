"""How far jobs are, and their end."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from telelink_gateway.resources import Uses
from telelink_gateway.routes.jobs.lookup import RESPONSES, JobId, job_of
from telelink_gateway.routes.jobs.replies import NO_STORE, JobReply, JobsReply, json_reply, reply_of
from telelink_gateway.wall_clock import now_ms

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get("", response_model=JobsReply, responses={code: RESPONSES[code] for code in (401, 403, 503)})
async def list_jobs(request: Request, uses: Uses) -> Response:
    """The jobs that there are, the newest first. With API keys in use, those that were made with the same one."""
    found = await uses.jobs.call(uses.jobs.store.latest, limit=uses.settings.jobs_kept)
    ours = [reply_of(job) for job in found if job.caller == request.scope.get("caller")]
    return json_reply(JobsReply(jobs=ours, count=len(ours), most=uses.settings.jobs_kept))


@router.get("/{job_id}", response_model=JobReply, responses=RESPONSES)
async def show(request: Request, uses: Uses, job_id: JobId) -> Response:
    """How far a job is."""
    return json_reply(reply_of(await job_of(request, uses, job_id)))


@router.delete(
    "/{job_id}",
    response_model=JobReply,
    responses={**RESPONSES, 204: {"description": "It had finished, and has been removed with all that belongs to it"}},
)
async def cancel_or_remove(request: Request, uses: Uses, job_id: JobId) -> Response:
    """Cancel a job that is under way; remove one that has finished."""
    job = await job_of(request, uses, job_id)
    if await uses.jobs.call(uses.jobs.store.cancel, job_id, now_ms=now_ms()):
        return json_reply(reply_of(await job_of(request, uses, job_id)))
    await uses.jobs.call(uses.jobs.store.remove, job.id)
    return Response(status_code=204, headers=NO_STORE)
