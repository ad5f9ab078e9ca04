"""Makes a further format of a finished result: the input is read again, and what was decided is taken from the CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from typing import Final

from telelink_gateway.jobs.cause import Cause
from telelink_gateway.jobs.progress import progress_of
from telelink_gateway.jobs.scoring import source_of
from telelink_gateway.jobs.sql_store import JobStore
from telelink_gateway.jobs.store import Job, Part
from telelink_gateway.wall_clock import now_ms
from telelink_shared.bulk.files import write_result
from telelink_shared.bulk.table import OURS, Checked, Chunk, Decided, Fault, Format, Scored
from telelink_shared.decision import Decision

_PART_BYTES: Final = 1024 * 1024


class Stopped(Exception):
    """It is time to stop."""


def render(
    store: JobStore, job: Job, owner: str, format: Format, *, lease_ms: int, should_stop: Callable[[], bool]
) -> None:
    """Make it, part by part.

    Raises:
        LeaseLost: the job is no longer ours.
        Stopped
    """
    # What a worker before this one left.
    store.drop_parts(job.id, format)
    source, file = source_of(store, job)
    cause = file.cause
    out = _Parts(store, job, owner, format, lease_ms, cause)
    with cause.told():
        write_result(source, cause.kept_of(_scored(store, job, source.chunks, should_stop)), format, out)
    out.commit_rest()
    store.made(job.id, owner, format)


def _scored(
    store: JobStore, job: Job, chunks: Callable[[int], Iterator[Chunk]], should_stop: Callable[[], bool]
) -> Iterator[Scored]:
    delimiter = progress_of(job).delimiter
    part = store.part_with(job.id, "csv", 0)
    if part is None or not part.n_items:
        return
    for chunk in chunks(part.n_items):
        if should_stop():
            raise Stopped
        part = store.part_with(job.id, "csv", chunk.start.row)
        assert part is not None
        text = part.body.decode(errors="surrogateescape").removeprefix("\ufeff")
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
        yield _as_scored(chunk, [row[-len(OURS) :] for row in rows[-part.n_items :]])


def _as_scored(chunk: Chunk, ours: list[list[str]]) -> Scored:
    good = [row for row, cells in enumerate(ours) if not cells[-1]]
    faults = {row: (Fault(chunk.lines[row], "", "", cells[-1]),) for row, cells in enumerate(ours) if cells[-1]}
    figures = [ours[row] for row in good]
    return Scored(
        chunk,
        Checked(chunk.n_rows, good, {}, {}, [], faults),
        Decided(
            [float(cells[0]) for cells in figures],
            [float(cells[2]) for cells in figures],
            [float(cells[3]) for cells in figures],
            [float(cells[4]) for cells in figures],
            # The words are those that were written: a tier, a confidence.
            [Decision(cells[1], cells[5], cells[6], float(cells[7])) for cells in figures],  # type: ignore[arg-type]
        ),
    )


class _Parts(io.RawIOBase):
    """Takes bytes in, and commits them by the megabyte."""

    def __init__(self, store: JobStore, job: Job, owner: str, format: Format, lease_ms: int, cause: Cause) -> None:
        self._store, self._job, self._owner, self._format, self._lease_ms = store, job, owner, format, lease_ms
        self._cause = cause
        self._waiting = bytearray()
        self._number = self._start = 0

    def writable(self) -> bool:
        """It is."""
        return True

    # Whoever writes to it hands over bytes; the base class would take any buffer.
    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Take them in."""
        self._waiting += data
        if len(self._waiting) >= _PART_BYTES:
            self._commit()
        return len(data)

    # Not `flush`: the base class calls that when it is let go of, also some time after a failure.
    def commit_rest(self) -> None:
        """Commit what is there."""
        if self._waiting:
            self._commit()

    def _commit(self) -> None:
        part = Part(self._format, self._number, self._start, 0, 0, bytes(self._waiting))
        until_ms = now_ms() + self._lease_ms
        with self._cause.kept():
            self._store.commit(self._job.id, self._owner, [part], self._job.progress, until_ms=until_ms)
        self._number, self._start = self._number + 1, self._start + len(part.body)
        self._waiting.clear()
