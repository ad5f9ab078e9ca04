"""What is told of jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import BaseModel, Field
from starlette.responses import Response

from telelink_gateway.jobs.progress import progress_of
from telelink_gateway.jobs.store import Job
from telelink_shared.bulk.table import Format

NO_STORE: Final = {"Cache-Control": "no-store"}


class JobReply(BaseModel):
    """A job as it is now."""

    id: str
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    format: Format = Field(description="Of the file")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    bytes: int = Field(description="Of the file")
    rows_done: int
    rows_failed: int = Field(description="Rows among them that could not be scored; they are in the result, with why")
    errors: int = Field(description="What is wrong with these; a row may have several faults")
    progress: float = Field(description="How much of the file has been read, from 0 to 1")
    rows_per_s: float | None = Field(description="Lately; null before it is known")
    seconds_left: float | None = Field(description="Null where it is not known")
    waiting_for: str | None = Field(description="What keeps a running job from going on right now")
    failure: str | None = Field(description="Why it has failed")
    failure_code: str | None = Field(description="The same for programs")
    models: dict[str, list[str]] = Field(description="Versions that answered, by model")
    policy_version: str | None = Field(description="By which it was decided")


class JobsReply(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobReply]
    count: int
    most: int = Field(description="How many are kept at once; beyond that, one has to be removed first")


class GroupReply(BaseModel):
    """Some customers together."""

    # Another reply has this name too, so that the OpenAPI document adds where it is from.
    __module__ = "telelink_gateway.routes.jobs"

    customers: int
    high_risk_customers: int
    value_at_risk: float = Field(description="US dollars")


class SummaryReply(BaseModel):
    """What the rows so far come to."""

    customers: int = Field(description="Rows that were scored")
    failed: int
    value_at_risk: float = Field(description="US dollars")
    tiers: dict[str, GroupReply]
    states: dict[str, GroupReply] = Field(description="The largest value at risk first")


class ErrorReply(BaseModel):
    """One thing that is wrong with a row."""

    line: int = Field(description="Where the row begins in the file, from 1; in a Parquet file the number of the row")
    field: str = Field(description="Empty for the row itself")
    code: str
    reason: str


class ErrorsReply(BaseModel):
    """What is wrong with rows, in their order."""

    errors: list[ErrorReply]
    total: int
    offset: int


class RowReply(BaseModel):
    """A customer of the result."""

    row: int = Field(description="Its place among the file's rows, from 1")
    customer: dict[str, str] = Field(description="The fields as the file has them, by their names in this API")
    churn_probability: float
    churn_risk: Literal["Low", "Medium", "High"]
    estimated_clv: float
    clv_lower: float
    clv_upper: float
    recommendation: str
    confidence: str
    value_at_risk: float


class RowsReply(BaseModel):
    """Customers by value at risk, the largest first."""

    rows: list[RowReply]
    total: int = Field(description="How many there are that fit the filters")
    offset: int


def _when(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1e3, UTC)


def reply_of(job: Job) -> JobReply:
    """A job as it is told."""
    progress = progress_of(job)
    is_running = job.state == "running"
    return JobReply(
        id=job.id,
        state="queued" if job.state == "uploading" else job.state,
        format=job.format,
        created_at=datetime.fromtimestamp(job.created_at_ms / 1e3, UTC),
        started_at=_when(job.started_at_ms),
        finished_at=_when(job.finished_at_ms),
        bytes=job.n_bytes,
        rows_done=progress.row,
        rows_failed=progress.failed,
        errors=progress.n_errors,
        progress=round(progress.share, 4),
        rows_per_s=progress.rows_per_s,
        seconds_left=round(progress.seconds_left, 1) if is_running and progress.seconds_left is not None else None,
        waiting_for=job.reason or None if is_running else None,
        failure=job.reason or None if job.state == "failed" else None,
        failure_code=job.code or None if job.state == "failed" else None,
        models=progress.versions,
        policy_version=progress.policy_version or None,
    )


def json_reply(model: BaseModel, status: int = 200, **headers: str) -> Response:
    """Never kept by whoever it passes."""
    return Response(model.model_dump_json(), status, headers=NO_STORE | headers, media_type="application/json")
