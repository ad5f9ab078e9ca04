"""Which job a request is about, and why there may be none."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from fastapi import Path, Request

from telelink_gateway.jobs.store import Job
from telelink_gateway.resources import Resources
from telelink_gateway.routes.predictions import PROBLEM
from telelink_gateway.wall_clock import now_ms
from telelink_shared.problem import JobExpired, NotFound

_JOB_ID: Final = re.compile(r"[0-9a-f]{32}")
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    401: {"description": "API keys are in use, and there is none, or one that is not known", **PROBLEM},
    403: {"description": "The API key lacks the scope `predict`", **PROBLEM},
    404: {"description": "There is no such job, or it was made with another API key", **PROBLEM},
    410: {"description": "The job has reached its age and was removed", **PROBLEM},
    503: {"description": "Jobs cannot be read or changed right now; see Retry-After", **PROBLEM},
}

JobId = Annotated[str, Path(description="As `POST /v1/jobs` gave it")]


async def job_of(request: Request, uses: Resources, job_id: str) -> Job:
    """The job, if it is the caller's.

    Raises:
        NotFound, JobExpired
    """
    job = await uses.jobs.call(uses.jobs.store.find, job_id) if _JOB_ID.fullmatch(job_id) else None
    if job is not None and job.state != "uploading" and job.caller == request.scope.get("caller"):
        return job
    # An id begins with the time at which it was made.
    hours = uses.settings.jobs_kept_hours
    if job is None and _JOB_ID.fullmatch(job_id) and 0 < int(job_id[:12], 16) < now_ms() - hours * 3_600_000:
        raise JobExpired(f"Jobs are kept for {hours:g} hours. Send the file again.")
    raise NotFound("There is no such job.")
