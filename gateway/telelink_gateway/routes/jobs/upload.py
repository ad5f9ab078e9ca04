"""A file is sent: the beginning of a job."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from typing import Final

from fastapi import APIRouter, Request
from pydantic_core import to_json
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from telelink_gateway.idempotency import request_key
from telelink_gateway.jobs.store import Job, KeyTaken, LeaseLost, Part
from telelink_gateway.jobs.uploads import check_beginning
from telelink_gateway.resources import Resources, resources_of
from telelink_gateway.routes.jobs.lookup import RESPONSES
from telelink_gateway.routes.jobs.replies import JobReply, json_reply, reply_of
from telelink_gateway.routes.predictions import PROBLEM
from telelink_gateway.wall_clock import now_ms
from telelink_shared.bulk.table import MEDIA_TYPES, Format
from telelink_shared.problem import (
    BadRequest,
    Conflict,
    FieldError,
    IdempotencyKeyReused,
    InvalidInput,
    NotFound,
    TooLarge,
    TooManyJobs,
    UnsupportedMediaType,
)

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_MB: Final = 1_000_000
_PART_BYTES: Final = 1024 * 1024
_MOST_MAPPED: Final = 100
# An upload of which nothing more has come for so long has ended half way.
_NEXT_PART_MS: Final = 60_000
_KEEP_MS: Final = 15_000


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
        self._keep_from_ms = job.created_at_ms + _KEEP_MS
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
                if keep and now_ms() >= self._keep_from_ms:
                    # Slow, but coming: less than a part a minute.
                    self._keep_from_ms = now_ms() + _KEEP_MS
                    jobs = self._uses.jobs
                    await jobs.call(jobs.store.keep_upload, self._job.id, until_ms=now_ms() + _NEXT_PART_MS)
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
        401: RESPONSES[401],
        403: RESPONSES[403],
        409: {"description": "As many jobs are kept as there may be, or this one is being sent just now", **PROBLEM},
        413: {"description": "The file is too large", **PROBLEM},
        415: {"description": "None of the media types that are taken", **PROBLEM},
        422: {"description": "The file cannot be scored: `errors` says why", **PROBLEM},
        503: RESPONSES[503],
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
    return json_reply(reply_of(job), 202, Location=f"/v1/jobs/{job_id}", **headers)
