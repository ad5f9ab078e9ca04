"""/v1/jobs: whole files of customers, scored in the background."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse

from telelink_gateway.idempotency import request_key
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
from telelink_gateway.jobs.scoring import now_ms
from telelink_gateway.jobs.store import FINISHED, Job, KeyTaken, LeaseLost, Part, State
from telelink_gateway.jobs.uploads import check_beginning
from telelink_gateway.resources import Resources, Uses, resources_of
from telelink_gateway.routes.predictions import PROBLEM
from telelink_shared.bulk.table import MEDIA_TYPES, Format
from telelink_shared.customer import State as UsState
from telelink_shared.problem import (
    BadRequest,
    Conflict,
    FieldError,
    IdempotencyKeyReused,
    InvalidInput,
    JobExpired,
    JobNotFinished,
    NotFound,
    TooLarge,
    TooManyJobs,
    UnsupportedMediaType,
)
from telelink_shared.web.health import Lifecycle

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_MB: Final = 1_000_000
_PART_BYTES: Final = 1024 * 1024
_JOB_ID: Final = re.compile(r"[0-9a-f]{32}")
_MOST_MAPPED: Final = 100
# An upload of which nothing more has come for so long has ended half way.
_NEXT_PART_MS: Final = 60_000
_LOOK_S: Final = 0.5
# nginx gives up on whoever says nothing for 15 seconds.
_HEARTBEAT_S: Final = 5.0
# Each takes one of the places of those whom the gateway answers at once.
MOST_LISTENERS: Final = 32
_NO_STORE: Final = {"Cache-Control": "no-store"}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    401: {"description": "API keys are in use, and there is none, or one that is not known", **PROBLEM},
    403: {"description": "The API key lacks the scope `predict`", **PROBLEM},
    404: {"description": "There is no such job, or it was made with another API key", **PROBLEM},
    410: {"description": "The job has reached its age and was removed", **PROBLEM},
    503: {"description": "Jobs cannot be read or changed right now; see Retry-After", **PROBLEM},
}
_UNFINISHED: Final[dict[int | str, dict[str, Any]]] = {409: {"description": "The job has no result", **PROBLEM}}

JobId = Annotated[str, Path(description="As `POST /v1/jobs` gave it")]


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


def _reply(job: Job) -> JobReply:
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


def _json(model: BaseModel, status: int = 200, **headers: str) -> Response:
    return Response(model.model_dump_json(), status, headers=_NO_STORE | headers, media_type="application/json")


async def _job(request: Request, uses: Resources, job_id: str) -> Job:
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


def _must_have(job: Job, *states: State) -> None:
    if job.state not in states:
        why = {"failed": "has failed", "cancelled": "was cancelled"}.get(job.state, "is still under way")
        raise JobNotFinished(f"The job {why}: there is no result.")


def _format_of(request: Request) -> Format:
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    format = MEDIA_TYPES.get(media_type.strip().lower())
    charset = re.search(r"charset\s*=\s*\"?([\w-]+)", parameters.lower())
    if format is None or request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType(f"Send the file as {', '.join(MEDIA_TYPES)}, without a content encoding.")
    if charset and charset[1] not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedMediaType("Send the file in UTF-8.")
    return format


def _mapping_of(request: Request) -> dict[str, str]:
    pairs = request.query_params.getlist("map")
    if len(pairs) > _MOST_MAPPED or not all(re.fullmatch(r"(?s).+:[^:]+", pair) for pair in pairs):
        fault = FieldError("", "bad_map", f"must be at most {_MOST_MAPPED} times header:field")
        raise InvalidInput("The query's 'map' is not valid; see 'errors'.", errors=[fault])
    # The field is ours and has no colon; the header may have.
    return {header: field for header, _, field in (pair.rpartition(":") for pair in pairs)}


class _Upload:
    """Takes in a file, a part at a time.

    Attributes:
        n_bytes: so far.
    """

    def __init__(self, uses: Resources, job: Job, mapping: dict[str, str]) -> None:
        self._uses = uses
        self._job = job
        self._mapping = mapping
        self._waiting = bytearray()
        self._number = 0
        self._hash = hashlib.sha256()
        self.n_bytes = 0

    @property
    def digest(self) -> bytes:
        """Of all bytes."""
        return self._hash.digest()

    async def read(self, request: Request, *, keep: bool) -> None:
        """The whole body.

        Args:
            keep: else it is only looked at, for its digest.

        Raises:
            TooLarge, InvalidInput, BadRequest
        """
        limit_bytes = self._uses.settings.jobs_max_mb * _MB
        announced = request.headers.get("content-length", "0")
        try:
            if announced.isdecimal() and len(announced) < 16 and int(announced) > limit_bytes:
                raise self._too_large()
            async for data in request.stream():
                self.n_bytes += len(data)
                if self.n_bytes > limit_bytes:
                    raise self._too_large()
                self._hash.update(data)
                self._waiting += data
                while len(self._waiting) >= _PART_BYTES:
                    await self._take(bytes(self._waiting[:_PART_BYTES]), keep=keep)
                    del self._waiting[:_PART_BYTES]
        except ClientDisconnect as error:
            raise BadRequest("The connection ended before the file did.") from error
        await self._take(bytes(self._waiting), keep=keep)
        self._waiting.clear()

    def _too_large(self) -> TooLarge:
        return TooLarge(f"A file may have at most {self._uses.settings.jobs_max_mb:,} MB. Split it into several jobs.")

    async def _take(self, body: bytes, *, keep: bool) -> None:
        if not keep:
            return
        if self._number == 0:
            await asyncio.to_thread(check_beginning, body, self._job.format, self._mapping)
        if body:
            part = Part("input", self._number, self._number * _PART_BYTES, 0, 0, body)
            await self._uses.jobs.call(
                self._uses.jobs.store.append, self._job.id, part, until_ms=now_ms() + _NEXT_PART_MS
            )
            self._number += 1


@router.post(
    "",
    status_code=202,
    response_model=JobReply,
    responses={
        400: {"description": "The Idempotency-Key is not well formed, or the connection ended", **PROBLEM},
        401: _RESPONSES[401],
        403: _RESPONSES[403],
        409: {"description": "As many jobs are kept as there may be, or this one is being sent just now", **PROBLEM},
        413: {"description": "The file is too large", **PROBLEM},
        415: {"description": "None of the media types that are taken", **PROBLEM},
        422: {"description": "The file cannot be scored: `errors` says why", **PROBLEM},
        503: _RESPONSES[503],
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in MEDIA_TYPES},
        },
        "parameters": [
            {
                "name": "map",
                "in": "query",
                "required": False,
                "description": "`header:field`, for a header that is not known: this column is that field of the API. "
                "May be given several times",
                "schema": {"type": "array", "items": {"type": "string"}},
                "example": ["Their Name:customerId"],
            },
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "Who sends the same file again under its key gets the job that there is",
                "schema": {"type": "string", "maxLength": 255},
            },
        ],
    },
)
async def create(request: Request) -> Response:
    """Score a file: CSV, NDJSON or Parquet, one customer a row, whose columns may be spelled in any known way.

    The reply comes once the file is there; `Location` is where its job is.
    """
    uses = resources_of(request)
    jobs = uses.jobs
    format, mapping = _format_of(request), _mapping_of(request)
    key = request_key(request, b"")
    at_ms = now_ms()
    job = Job(
        id=f"{at_ms:012x}{secrets.token_hex(10)}",
        created_at_ms=at_ms,
        caller=request.scope.get("caller"),
        format=format,
        mapping=to_json(mapping).decode(),
        key=None if key is None else key.key,
        fingerprint=None,
        state="uploading",
        n_bytes=0,
        revision=0,
        started_at_ms=None,
        finished_at_ms=None,
        code="",
        reason="",
        progress="",
        wanted="",
    )
    upload = _Upload(uses, job, mapping)
    # Of the address with its query, as far as anything but the file is concerned.
    asked = b"" if key is None else key.fingerprint
    if key is not None:
        await jobs.expire()
    if key is not None and (earlier := await jobs.call(jobs.store.find_by_key, key.key)) is not None:
        return await _again(request, upload, earlier, asked)
    if await jobs.call(jobs.store.count) >= uses.settings.jobs_kept:
        raise TooManyJobs(f"{uses.settings.jobs_kept} jobs are kept at once. Remove one that is no longer needed.")
    try:
        await jobs.call(jobs.store.begin, job, until_ms=at_ms + _NEXT_PART_MS)
    except KeyTaken:
        raise Conflict("The file is being sent under this Idempotency-Key just now.") from None
    try:
        await upload.read(request, keep=True)
        fingerprint = None if key is None else hashlib.sha256(asked + upload.digest).digest()
        await jobs.call(jobs.store.submit, job.id, n_bytes=upload.n_bytes, fingerprint=fingerprint)
    except LeaseLost:
        raise Conflict("The job was removed while its file was being sent.") from None
    except BaseException:
        # Whoever has hung up has cancelled this: what is left to do goes on without.
        await asyncio.shield(asyncio.create_task(jobs.call(jobs.store.remove, job.id)))
        raise
    jobs.poke()
    return await _accepted(uses, job.id)


async def _again(request: Request, upload: _Upload, earlier: Job, asked: bytes) -> Response:
    if earlier.state == "uploading":
        raise Conflict("The file is being sent under this Idempotency-Key just now.")
    await upload.read(request, keep=False)
    if earlier.fingerprint != hashlib.sha256(asked + upload.digest).digest():
        raise IdempotencyKeyReused("This Idempotency-Key was used for another file, address or query. Use a new key.")
    return await _accepted(resources_of(request), earlier.id, **{"Idempotency-Replayed": "true"})


async def _accepted(uses: Resources, job_id: str, **headers: str) -> Response:
    job = await uses.jobs.call(uses.jobs.store.find, job_id)
    if job is None:
        raise NotFound("There is no such job.")
    return _json(_reply(job), 202, Location=f"/v1/jobs/{job_id}", **headers)


@router.get("", response_model=JobsReply, responses={code: _RESPONSES[code] for code in (401, 403, 503)})
async def list_jobs(request: Request, uses: Uses) -> Response:
    """The jobs that there are, the newest first. With API keys in use, those that were made with the same one."""
    found = await uses.jobs.call(uses.jobs.store.latest, limit=uses.settings.jobs_kept)
    ours = [_reply(job) for job in found if job.caller == request.scope.get("caller")]
    return _json(JobsReply(jobs=ours, count=len(ours), most=uses.settings.jobs_kept))


@router.get("/{job_id}", response_model=JobReply, responses=_RESPONSES)
async def show(request: Request, uses: Uses, job_id: JobId) -> Response:
    """How far a job is."""
    return _json(_reply(await _job(request, uses, job_id)))


@router.delete(
    "/{job_id}",
    response_model=JobReply,
    responses={**_RESPONSES, 204: {"description": "It had finished, and has been removed with all that belongs to it"}},
)
async def cancel_or_remove(request: Request, uses: Uses, job_id: JobId) -> Response:
    """Cancel a job that is under way; remove one that has finished."""
    job = await _job(request, uses, job_id)
    if await uses.jobs.call(uses.jobs.store.cancel, job_id, now_ms=now_ms()):
        return _json(_reply(await _job(request, uses, job_id)))
    await uses.jobs.call(uses.jobs.store.remove, job.id)
    return Response(status_code=204, headers=_NO_STORE)


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    responses={
        **_RESPONSES,
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
    job = await _job(request, uses, job_id)
    seen = request.headers.get("last-event-id", "")
    if job.state in FINISHED and seen == str(job.revision):
        return Response(status_code=204, headers=_NO_STORE)
    with_room = uses.jobs.n_listeners < MOST_LISTENERS
    # Beyond that, one event, and when to ask again: what polling would be.
    lifecycle = request.app.state.lifecycle
    stream = _events(uses, job, seen, lifecycle) if with_room else _one_event(job)
    # A proxy must hand on each event at once.
    headers = _NO_STORE | {"X-Accel-Buffering": "no"}
    return StreamingResponse(stream, headers=headers, media_type="text/event-stream")


def _event(job: Job, *, retry_ms: int = 1_000) -> bytes:
    name = b"finished" if job.state in FINISHED else b"progress"
    return b"retry: %d\nid: %d\nevent: %b\ndata: %b\n\n" % (
        retry_ms,
        job.revision,
        name,
        _reply(job).model_dump_json().encode(),
    )


async def _one_event(job: Job) -> AsyncIterator[bytes]:
    yield _event(job, retry_ms=5_000)


async def _events(uses: Resources, job: Job, seen: str, lifecycle: Lifecycle) -> AsyncIterator[bytes]:
    """Until the job has finished, or this process is about to stop: the client then asks another one for the rest."""
    loop = asyncio.get_running_loop()
    with uses.jobs.listening():
        said_at = loop.time()
        # The head of the reply goes out with this.
        yield b": hello\n\n"
        found: Job | None = job
        while found is not None and lifecycle.is_ready:
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


@router.get("/{job_id}/summary", response_model=SummaryReply, responses=_RESPONSES)
async def summary(request: Request, uses: Uses, job_id: JobId) -> Response:
    """What the rows so far come to: by tier and by state."""
    progress = progress_of(await _job(request, uses, job_id))
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
    return _json(
        SummaryReply(
            customers=progress.row - progress.failed,
            failed=progress.failed,
            value_at_risk=cents / 100,
            tiers=tiers,
            states=states,
        )
    )


@router.get("/{job_id}/errors", response_model=ErrorsReply, responses=_RESPONSES)
async def errors(
    request: Request,
    uses: Uses,
    job_id: JobId,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> Response:
    """What is wrong with rows that could not be scored, in the order of the file."""
    job = await _job(request, uses, job_id)
    found = await uses.jobs.call(errors_from, uses.jobs.store, job, offset, limit)
    total = progress_of(job).n_errors
    return Response(
        to_json({"errors": found, "total": total, "offset": offset}), headers=_NO_STORE, media_type="application/json"
    )


_MEDIA: Final = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in MEDIA_TYPES}


@router.get(
    "/{job_id}/result",
    response_class=StreamingResponse,
    responses={
        **_RESPONSES,
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
    job = await _job(request, uses, job_id)
    _must_have(job, "succeeded")
    media_type = chosen_media_type(request, MEDIA_TYPES)
    format = MEDIA_TYPES[media_type]
    store = uses.jobs.store
    headers = _NO_STORE | {
        "Vary": "Accept",
        "ETag": f'"{job.id}-{format}"',
        "Content-Disposition": f'attachment; filename="scored-{job.id[:12]}.{format}"',
    }
    content_type = MEDIA_TYPE_OF[format]
    n_bytes = await uses.jobs.call(store.size, job.id, format) if format not in job.wanted.split() else 0
    if not n_bytes:
        await uses.jobs.call(store.want, job.id, format)
        uses.jobs.poke()
        return StreamingResponse(parts_while_made(uses.jobs, job, format), headers=headers, media_type=content_type)
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
        **_RESPONSES,
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
    job = await _job(request, uses, job_id)
    _must_have(job, "succeeded")
    wanted = Wanted(tier, state, plan)
    if chosen_media_type(request, ("application/json", "text/csv")) == "text/csv":
        headers = _NO_STORE | {"Content-Disposition": f'attachment; filename="ranked-{job.id[:12]}.csv"'}
        return StreamingResponse(
            ranked_records(uses.jobs, job, wanted), headers=headers, media_type=MEDIA_TYPE_OF["csv"]
        )
    found = await uses.jobs.call(shown, uses.jobs.store, job, wanted, offset, limit)
    return JSONResponse(found, headers=_NO_STORE)
