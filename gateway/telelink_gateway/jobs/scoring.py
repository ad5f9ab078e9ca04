"""Scores one job: reads, asks, decides and writes a chunk at a time, each at the same time as the others'."""

from __future__ import annotations

import asyncio
import io
import time
from array import array
from collections import deque
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from pydantic_core import from_json, to_json

from telelink_gateway.jobs.asking import Asking, Figures
from telelink_gateway.jobs.input_file import InputFile
from telelink_gateway.jobs.progress import Progress, progress_of
from telelink_gateway.jobs.ranking import rank_part, ranking_parts
from telelink_gateway.jobs.sql_store import JobStore
from telelink_gateway.jobs.store import Job, Part
from telelink_gateway.predicting import policy_in_force
from telelink_gateway.wall_clock import now_ms
from telelink_shared.bulk.checking import Checker
from telelink_shared.bulk.csv_file import CsvResult, CsvSource
from telelink_shared.bulk.deciding import NO_ANSWER, NO_ANSWER_CODE, decide_all
from telelink_shared.bulk.files import open_source
from telelink_shared.bulk.table import CAMEL, OURS, BadFile, Checked, Chunk, Fault, Scored, Source
from telelink_shared.decision import Policy

# More take more memory (6 KB a row, for each chunk under way), and are no faster.
ROWS_PER_CHUNK: Final = 2_500
# Chunks under way at once: one is asked about while another one is read or written.
_AHEAD: Final = 2
_RATE_OVER_S: Final = 5.0


def source_of(store: JobStore, job: Job) -> tuple[Source, InputFile]:
    """The job's input.

    Raises:
        BadFile
    """
    file = InputFile(store, job.id, job.n_bytes)
    with file.cause.told():
        return open_source(io.BufferedReader(file), job.format, from_json(job.mapping)), file


def csv_result(source: Source) -> tuple[CsvResult, str]:
    """How the result is written as CSV, and its delimiter."""
    if isinstance(source, CsvSource):
        return CsvResult.like(source), source.delimiter
    return CsvResult(source.layout), ","


class Scoring:
    """The scoring of a job, from where it was.

    Args:
        owner: whose lease the job is under.
        policy: without the limits that the value model's metadata give.
        lease_ms: for how long each commit keeps the job.
    """

    def __init__(
        self,
        store: JobStore,
        job: Job,
        owner: str,
        churn: Asking,
        clv: Asking,
        policy: Policy,
        *,
        lease_ms: int,
        max_rows: int,
    ) -> None:
        self._store = store
        self._job = job
        self._owner = owner
        self._churn, self._clv = churn, clv
        self._policy = policy
        self._lease_ms = lease_ms
        self._max_rows = max_rows
        self._progress = progress_of(job)
        self._marks: deque[tuple[float, int]] = deque([(time.monotonic(), self._progress.row)])

    async def run(self, should_stop: asyncio.Event) -> bool:
        """Score to the end; False where it was stopped before that, behind a whole chunk.

        Raises:
            BadFile: the job has failed.
            LeaseLost: it is no longer ours.
        """
        source, file = await asyncio.to_thread(source_of, self._store, self._job)
        result, delimiter = csv_result(source)
        if not self._progress.n_chunks:
            self._progress = self._progress.model_copy(update=_of_layout(source, delimiter))
        checker = Checker(source.layout, is_text=source.is_text)
        chunks = source.chunks(ROWS_PER_CHUNK, self._progress.position)

        def read() -> tuple[Chunk, Checked, float] | None:
            with file.cause.told():
                chunk = next(chunks, None)
            return None if chunk is None else (chunk, checker.check(chunk), file.share)

        under_way: deque[asyncio.Task[tuple[Chunk, Checked, float, Figures, Figures]]] = deque()
        has_more = True
        try:
            while has_more or under_way:
                while has_more and len(under_way) < _AHEAD and not should_stop.is_set():
                    found = await asyncio.to_thread(read)
                    has_more = found is not None
                    if found is not None:
                        under_way.append(asyncio.create_task(self._asked(*found)))
                if should_stop.is_set() and not (under_way and under_way[0].done()):
                    return False
                if under_way:
                    await asyncio.to_thread(self._commit, result, *await _first(under_way, should_stop))
        except _Stopped:
            return False
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        await asyncio.to_thread(self._finish, result)
        return True

    async def _asked(
        self, chunk: Chunk, checked: Checked, share: float
    ) -> tuple[Chunk, Checked, float, Figures, Figures]:
        churn, clv = await asyncio.gather(self._churn.ask(checked), self._clv.ask(checked))
        return chunk, checked, share, churn, clv

    def _commit(
        self, result: CsvResult, chunk: Chunk, checked: Checked, share: float, churn: Figures, clv: Figures
    ) -> None:
        before = self._progress
        if chunk.end.row > self._max_rows:
            raise BadFile("too_many_rows", f"A job may have at most {self._max_rows:,} rows. Split the file.")
        scored, policy_version = self._decided(chunk, checked, churn, clv)
        number = before.n_chunks
        csv = csv_part(result, scored, number, before.n_csv_bytes)
        errors = _errors_part(scored, number, before)
        parts = [csv, rank_part(scored, number), *([errors] if errors.n_items else [])]
        self._progress = before.model_copy(
            update={
                "n_chunks": number + 1,
                "row": chunk.end.row,
                "offset": chunk.end.offset,
                "line": chunk.end.line,
                "failed": before.failed + len(scored.checked.faults),
                "n_errors": before.n_errors + errors.n_items,
                "n_error_bytes": before.n_error_bytes + len(errors.body),
                "n_csv_bytes": before.n_csv_bytes + len(csv.body),
                "share": chunk.end.offset / self._job.n_bytes if chunk.end.offset else share,
                "rows_per_s": self._rate(chunk.end.row),
                "versions": _versions(before, churn=churn, clv=clv),
                "policy_version": policy_version,
                "summary": before.summary.plus(scored),
            }
        )
        self._store.commit(
            self._job.id,
            self._owner,
            parts,
            self._progress.model_dump_json(),
            until_ms=now_ms() + self._lease_ms,
        )

    def _decided(self, chunk: Chunk, checked: Checked, churn: Figures, clv: Figures) -> tuple[Scored, str]:
        columns = {**churn.columns, **clv.columns}
        if invalid := churn.invalid | clv.invalid:
            faults = {
                place: Fault(chunk.lines[checked.good[place]], "", NO_ANSWER_CODE, NO_ANSWER) for place in invalid
            }
            columns = {
                name: [value for place, value in enumerate(values) if place not in invalid]
                for name, values in columns.items()
            }
            checked = checked.without(faults)
        policy = policy_in_force(self._policy, clv.metadata)
        return Scored(chunk, checked, decide_all(columns, policy)), policy.version

    def _rate(self, row: int) -> float | None:
        now = time.monotonic()
        self._marks.append((now, row))
        while len(self._marks) > 2 and now - self._marks[0][0] > _RATE_OVER_S:
            self._marks.popleft()
        began, first = self._marks[0]
        return round((row - first) / (now - began), 1) if now > began else None

    def _finish(self, result: CsvResult) -> None:
        progress = self._progress.model_copy(update={"share": 1.0})
        parts = []
        if not progress.n_chunks:  # nothing but a header
            header = result.header()
            parts.append(Part("csv", 0, 0, 0, 0, header, array("I", [len(header)]).tobytes()))
            progress = progress.model_copy(update={"n_csv_bytes": len(header)})
        for part in ranking_parts(self._store, self._job.id, progress.row):
            self._store.rank(self._job.id, self._owner, part, until_ms=now_ms() + self._lease_ms)
        self._store.finish(self._job.id, self._owner, "succeeded", parts, progress.model_dump_json(), now_ms=now_ms())
        self._store.drop_parts(self._job.id, "ranks")


class _Stopped(Exception):
    """It is time to stop."""


async def _first(
    under_way: deque[asyncio.Task[tuple[Chunk, Checked, float, Figures, Figures]]], should_stop: asyncio.Event
) -> tuple[Chunk, Checked, float, Figures, Figures]:
    """The oldest chunk once it is answered; who waits for a service waits no longer than until it is time to stop."""
    stopping = asyncio.create_task(should_stop.wait())
    try:
        await asyncio.wait({under_way[0], stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not under_way[0].done():
            raise _Stopped
        return under_way.popleft().result()
    finally:
        stopping.cancel()


def _of_layout(source: Source, delimiter: str) -> dict[str, object]:
    layout = source.layout
    kept = {position: place for place, position in enumerate(layout.kept)}
    return {
        "headers": [*(layout.headers[position] for position in layout.kept), *OURS],
        "fields": {CAMEL[column]: kept[position] for column, position in layout.positions.items() if position in kept},
        "delimiter": delimiter,
    }


def csv_part(result: CsvResult, scored: Scored, number: int, start: int) -> Part:
    """A chunk of the result as CSV, and where each row begins; the first also has the header."""
    header = result.header() if number == 0 else b""
    rows = result.rows(scored)
    text = "".join(rows)
    body = text.encode(errors="surrogateescape")
    if len(body) == len(text):
        lengths: Iterator[int] = map(len, rows)
    else:
        lengths = (len(row.encode(errors="surrogateescape")) for row in rows)
    places = array("I", accumulate(lengths, initial=len(header)))
    return Part("csv", number, start, scored.chunk.start.row, len(rows), header + body, places.tobytes())


def _errors_part(scored: Scored, number: int, before: Progress) -> Part:
    faults = [fault for row in sorted(scored.checked.faults) for fault in scored.checked.faults[row]]
    body = b"".join(to_json(fault._asdict()) + b"\n" for fault in faults)
    return Part("errors", number, before.n_error_bytes, before.n_errors, len(faults), body)


def _versions(before: Progress, **figures: Figures) -> dict[str, list[str]]:
    return {model: sorted({*before.versions.get(model, ()), *answered.versions}) for model, answered in figures.items()}
