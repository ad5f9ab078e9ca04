"""What is told of a finished job: whole results and ranges of them, pages in the order of value at risk, faults."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from itertools import islice
from typing import Any, Final

from pydantic_core import from_json
from starlette.requests import Request

from telelink_gateway.jobs.jobs import Jobs
from telelink_gateway.jobs.progress import progress_of
from telelink_gateway.jobs.ranking import Wanted, page, parts_of, rows_of
from telelink_gateway.jobs.sql_store import JobStore
from telelink_gateway.jobs.store import Job, Kind
from telelink_shared.bulk.table import OURS, Format
from telelink_shared.problem import JobExpired, NotAcceptable, RangeNotSatisfiable, Unavailable

MEDIA_TYPE_OF: Final[Mapping[Format, str]] = {
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
_RANGE: Final = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")
_NUMBERS: Final = frozenset({"churn_probability", "estimated_clv", "clv_lower", "clv_upper", "value_at_risk"})
# Rows of an export that are fetched at once.
_ROWS_AT_ONCE: Final = 200
_LOOK_S: Final = 0.2
# Less than the frontend waits for a reply to begin: the 15 s of its proxy.conf.
_PATIENCE_S: Final = 10.0


def chosen_media_type(request: Request, offered: Iterable[str]) -> str:
    """The one that the client likes best; of those that it likes equally, the first.

    Raises:
        NotAcceptable
    """
    offered = list(offered)
    likes: dict[str, float] = {}
    for each in (request.headers.get("accept") or "*/*").lower().split(","):
        name, *parameters = (part.strip() for part in each.split(";"))
        quality = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        likes[name] = float(quality) if re.fullmatch(r"[01](\.[0-9]{0,3})?", quality) else 0.0
    best = max(offered, key=lambda media_type: _liked(media_type, likes))
    if not _liked(best, likes):
        raise NotAcceptable(f"To be had as {', '.join(offered)}.")
    return best


def _liked(media_type: str, likes: Mapping[str, float]) -> float:
    family = media_type.partition("/")[0]
    return next((likes[name] for name in (media_type, f"{family}/*", "*/*") if name in likes), 0.0)


def range_of(request: Request, n_bytes: int, *, etag: str) -> tuple[int, int] | None:
    """First byte and the one behind the last; None: all of it, as where several ranges are asked for, or nonsense.

    Raises:
        RangeNotSatisfiable
    """
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    if found is None or found[0] == "bytes=-" or request.headers.get("if-range", etag) != etag:
        return None
    first, last = found[1], found[2]
    if first and last and int(last) < int(first):
        return None
    start = int(first) if first else max(0, n_bytes - int(last))
    stop = min(n_bytes, int(last) + 1) if first and last else n_bytes
    if start >= stop:
        raise RangeNotSatisfiable(n_bytes)
    return start, stop


async def parts_from(jobs: Jobs, job_id: str, kind: Kind, start: int, stop: int) -> AsyncIterator[bytes]:
    """The bytes from one on up to, and without, another."""
    while start < stop:
        part = await jobs.call(jobs.store.part_at, job_id, kind, start)
        if part is None:
            raise JobExpired("The job was removed while its result was being sent.")
        body = part.body[start - part.start : stop - part.start]
        start += len(body)
        yield body


async def parts_while_made(jobs: Jobs, job: Job, format: Format) -> AsyncIterator[bytes]:
    """A format of the result while a worker makes it, once there is something of it.

    Raises:
        Unavailable: there is not yet, since one format is made at a time; it will be, asked for again or not.
        JobExpired
    """
    parts = _parts_as_they_come(jobs, job, format)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            first = await anext(parts, None)
    except TimeoutError as error:
        raise Unavailable(f"The result is still to be made as {format}. Ask again.", retry_after_s=5) from error
    return _behind(first, parts)


async def _behind(first: bytes | None, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first is not None:
        yield first
    async for part in others:
        yield part


async def _parts_as_they_come(jobs: Jobs, job: Job, format: Format) -> AsyncIterator[bytes]:
    start = 0
    while True:
        part = await jobs.call(jobs.store.part_at, job.id, format, start)
        if part is not None and part.start <= start < part.start + len(part.body):
            body = part.body[start - part.start :]
            start += len(body)
            yield body
            continue
        found = await jobs.call(jobs.store.find, job.id)
        if found is None:
            raise JobExpired("The job was removed while its result was being sent.")
        if format not in found.wanted.split() and await jobs.call(jobs.store.size, job.id, format) <= start:
            if start == 0 and progress_of(job).row:
                raise RuntimeError(f"{format} could not be made")
            return
        jobs.poke()
        await asyncio.sleep(_LOOK_S)


def shown(store: JobStore, job: Job, wanted: Wanted, offset: int, limit: int) -> dict[str, Any]:
    """A page of customers as JSON has them."""
    numbers, total = page(parts_of(store, job.id), wanted, offset=offset, limit=limit)
    progress = progress_of(job)
    records = store.records(job.id, numbers)
    rows = []
    for number, record in zip(numbers, records, strict=True):
        text = record.decode("utf-8", "replace")
        cells = next(csv.reader(io.StringIO(text, newline=""), delimiter=progress.delimiter))
        ours = dict(zip(OURS, cells[-len(OURS) :], strict=True))
        del ours["error"]
        rows.append(
            {
                "row": number + 1,
                "customer": {field: cells[place] for field, place in progress.fields.items()},
                **{name: float(value) if name in _NUMBERS else value for name, value in ours.items()},
            }
        )
    return {"rows": rows, "total": total, "offset": offset}


async def ranked_records(jobs: Jobs, job: Job, wanted: Wanted) -> AsyncIterator[bytes]:
    """All customers that are wanted as CSV, with a header."""
    whole = await jobs.call(jobs.store.part_at, job.id, "csv", 0)
    assert whole is not None
    # The first row of the result begins where the header ends.
    yield whole.body[: int.from_bytes(whole.places[:4], "little")]
    order = parts_of(jobs.store, job.id)
    while (part := await jobs.call(next, order, None)) is not None:
        rows, _ = rows_of(part, wanted)
        while numbers := await asyncio.to_thread(list, islice(rows, _ROWS_AT_ONCE)):
            yield b"".join(await jobs.call(jobs.store.records, job.id, numbers))


def errors_from(store: JobStore, job: Job, offset: int, limit: int) -> list[dict[str, Any]]:
    """Faults from one on."""
    found: list[dict[str, Any]] = []
    while len(found) < limit:
        part = store.part_with(job.id, "errors", offset + len(found))
        if part is None:
            break
        lines = part.body.splitlines()[offset + len(found) - part.first :]
        if not lines:
            break
        found += map(from_json, lines[: limit - len(found)])
    return found
