"""What has come of a job: the scored file, its customers by value at risk, sums and faults."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic_core import to_json
from starlette.responses import JSONResponse, Response, StreamingResponse

from telelink_gateway.jobs.progress import progress_of
from telelink_gateway.jobs.ranking import Wanted
from telelink_gateway.jobs.results import (
    MEDIA_TYPE_OF,
    chosen_media_type,
    errors_from,
    parts_from,
    parts_while_made,
    range_of,
    ranked_records,
    shown,
)
from telelink_gateway.jobs.store import Job, State
from telelink_gateway.resources import Uses
from telelink_gateway.routes.jobs.lookup import RESPONSES, JobId, job_of
from telelink_gateway.routes.jobs.replies import NO_STORE, ErrorsReply, GroupReply, RowsReply, SummaryReply, json_reply
from telelink_gateway.routes.predictions import PROBLEM
from telelink_shared.bulk.table import MEDIA_TYPES
from telelink_shared.customer import State as UsState
from telelink_shared.problem import JobNotFinished

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_UNFINISHED: Final[dict[int | str, dict[str, Any]]] = {409: {"description": "The job has no result", **PROBLEM}}
_MEDIA: Final = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in MEDIA_TYPES}


def _must_have(job: Job, *states: State) -> None:
    if job.state not in states:
        why = {"failed": "has failed", "cancelled": "was cancelled"}.get(job.state, "is still under way")
        raise JobNotFinished(f"The job {why}: there is no result.")


@router.get("/{job_id}/summary", response_model=SummaryReply, responses=RESPONSES)
async def summary(request: Request, uses: Uses, job_id: JobId) -> Response:
    """What the rows so far come to: by tier and by state."""
    progress = progress_of(await job_of(request, uses, job_id))
    tiers, states = (
        {
            name: GroupReply(
                customers=group.customers,
                high_risk_customers=group.high_risk_customers,
                value_at_risk=group.value_at_risk_cents / 100,
            )
            for name, group in sorted(groups.items(), key=lambda each: -each[1].value_at_risk_cents)
        }
        for groups in (progress.summary.tiers, progress.summary.states)
    )
    cents = sum(group.value_at_risk_cents for group in progress.summary.tiers.values())
    return json_reply(
        SummaryReply(
            customers=progress.row - progress.failed,
            failed=progress.failed,
            value_at_risk=cents / 100,
            tiers=tiers,
            states=states,
        )
    )


@router.get("/{job_id}/errors", response_model=ErrorsReply, responses=RESPONSES)
async def errors(
    request: Request,
    uses: Uses,
    job_id: JobId,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> Response:
    """What is wrong with rows that could not be scored, in the order of the file."""
    job = await job_of(request, uses, job_id)
    found = await uses.jobs.call(errors_from, uses.jobs.store, job, offset, limit)
    total = progress_of(job).n_errors
    return Response(
        to_json({"errors": found, "total": total, "offset": offset}), headers=NO_STORE, media_type="application/json"
    )


@router.get(
    "/{job_id}/result",
    response_class=StreamingResponse,
    responses={
        **RESPONSES,
        **_UNFINISHED,
        200: {"description": "The file's columns in their order, and ours behind them", "content": _MEDIA},
        206: {"description": "The range that was asked for", "content": _MEDIA},
        406: {"description": "None of the media types that there are", **PROBLEM},
        416: {"description": "The range lies beyond the end", **PROBLEM},
    },
)
async def result(request: Request, uses: Uses, job_id: JobId) -> Response:
    """The whole result as CSV, NDJSON or Parquet, by `Accept`.

    CSV is there at once. Another format is made while it is sent for the first time: from then on it, too, is sent in
    ranges.
    """
    job = await job_of(request, uses, job_id)
    _must_have(job, "succeeded")
    media_type = chosen_media_type(request, MEDIA_TYPES)
    format = MEDIA_TYPES[media_type]
    store = uses.jobs.store
    headers = NO_STORE | {
        "Vary": "Accept",
        "ETag": f'"{job.id}-{format}"',
        "Content-Disposition": f'attachment; filename="scored-{job.id[:12]}.{format}"',
    }
    content_type = MEDIA_TYPE_OF[format]
    n_bytes = await uses.jobs.call(store.size, job.id, format) if format not in job.wanted.split() else 0
    if not n_bytes:
        await uses.jobs.call(store.want, job.id, format)
        uses.jobs.poke()
        parts = await parts_while_made(uses.jobs, job, format)
        return StreamingResponse(parts, headers=headers, media_type=content_type)
    headers |= {"Accept-Ranges": "bytes"}
    wanted = range_of(request, n_bytes, etag=headers["ETag"])
    if wanted is None:
        headers |= {"Content-Length": str(n_bytes)}
        return StreamingResponse(
            parts_from(uses.jobs, job.id, format, 0, n_bytes), headers=headers, media_type=content_type
        )
    start, stop = wanted
    headers |= {"Content-Range": f"bytes {start}-{stop - 1}/{n_bytes}", "Content-Length": str(stop - start)}
    return StreamingResponse(
        parts_from(uses.jobs, job.id, format, start, stop), 206, headers=headers, media_type=content_type
    )


@router.get(
    "/{job_id}/rows",
    response_model=RowsReply,
    responses={
        **RESPONSES,
        **_UNFINISHED,
        200: {
            "description": "As JSON a page of them, as CSV all of them",
            "content": {"text/csv": {"schema": {"type": "string", "format": "binary"}}},
        },
        406: {"description": "Neither JSON nor CSV", **PROBLEM},
    },
)
async def rows(
    request: Request,
    uses: Uses,
    job_id: JobId,
    sort: Annotated[Literal["value_at_risk"], Query(description="The largest first")] = "value_at_risk",
    tier: Annotated[Literal["Low", "Medium", "High"] | None, Query()] = None,
    state: Annotated[UsState | None, Query(description="US state or DC, two letters")] = None,
    plan: Annotated[Literal["yes", "no"] | None, Query(description="The international plan")] = None,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Response:
    """Customers by value at risk, of a tier, a state or with a plan: a page of them, or with `Accept: text/csv` all."""
    job = await job_of(request, uses, job_id)
    _must_have(job, "succeeded")
    wanted = Wanted(tier, state, plan)
    if chosen_media_type(request, ("application/json", "text/csv")) == "text/csv":
        headers = NO_STORE | {"Content-Disposition": f'attachment; filename="ranked-{job.id[:12]}.csv"'}
        return StreamingResponse(
            ranked_records(uses.jobs, job, wanted), headers=headers, media_type=MEDIA_TYPE_OF["csv"]
        )
    found = await uses.jobs.call(shown, uses.jobs.store, job, wanted, offset, limit)
    return JSONResponse(found, headers=NO_STORE)
