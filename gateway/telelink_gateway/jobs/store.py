"""What is kept of jobs, and the interface of the databases that keep it.

A job's input, its result and all else that is large is kept in parts, in one order each, and every part says where in
the whole it begins. So nothing is ever held as a whole, a job goes on behind the last part that was committed, and any
gateway that reaches the database can do so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol

from telelink_shared.bulk.table import Format

State = Literal["uploading", "queued", "running", "succeeded", "failed", "cancelled"]
FINISHED: Final[frozenset[State]] = frozenset({"succeeded", "failed", "cancelled"})

Kind = Literal["input", "csv", "ndjson", "parquet", "errors", "ranks", "ranking"]
"""Input: the file. Csv, ndjson, parquet: the result, the last two once somebody has asked for them. Errors: faults, as
NDJSON. Ranks: what the order by value at risk is made of. Ranking: that order."""


class Job(NamedTuple):
    """A job as it is now.

    Attributes:
        created_at_ms, started_at_ms, finished_at_ms: Unix time in milliseconds.
        caller: whose key it was made with; None without keys.
        mapping: the field by header, as JSON.
        key, fingerprint: of the request that made it, where that carried an `Idempotency-Key`.
        n_bytes: of the input.
        revision: one more with every change.
        code, reason: why it failed, or what it waits for.
        progress: how far it is, as JSON; empty before it has begun.
        wanted: formats of the result that are still to be made, parted by spaces.
        n_deaths: how often a worker has ended without a word since the last chunk.
    """

    id: str
    created_at_ms: int
    caller: str | None
    format: Format
    mapping: str
    key: str | None
    fingerprint: bytes | None
    state: State
    n_bytes: int
    revision: int
    started_at_ms: int | None
    finished_at_ms: int | None
    code: str
    reason: str
    progress: str
    wanted: str
    n_deaths: int = 0


class Part(NamedTuple):
    """A part of something that belongs to a job.

    Attributes:
        number: from 0, in one order.
        start: where it begins in the whole, in bytes.
        first: how many rows (of errors: errors) come before it.
        n_items: how many it has.
        places: where each of its rows begins in `body`, and the end, as four bytes each; of ranks: what is filtered by.
    """

    kind: Kind
    number: int
    start: int
    first: int
    n_items: int
    body: bytes
    places: bytes = b""


class KeyTaken(Exception):
    """Another job has the same `Idempotency-Key`."""


class LeaseLost(Exception):
    """The job is no longer ours: it was cancelled or removed, or another worker has taken it over."""


class JobStore(Protocol):
    """A database. Several threads may call it; each call is one transaction."""

    def open(self) -> None:
        """Connect, and make the tables where there are none.

        Raises:
            StartupError: not without a change of the settings, or of what they lead to.
        """
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...

    def begin(self, job: Job, *, until_ms: int) -> None:
        """A new job, whose input is still to come, the first of it by then.

        Raises:
            KeyTaken
        """
        ...

    def append(self, job_id: str, part: Part, *, until_ms: int) -> None:
        """A further part of the input; more is to come by then.

        Raises:
            LeaseLost: the job has been removed.
        """
        ...

    def submit(self, job_id: str, *, n_bytes: int, fingerprint: bytes | None) -> None:
        """The input is whole: from now on the job may be taken.

        Raises:
            LeaseLost
        """
        ...

    def find(self, job_id: str) -> Job | None:
        """The job of this id."""
        ...

    def find_by_key(self, key: str) -> Job | None:
        """The job that was made under this key."""
        ...

    def latest(self, *, limit: int) -> Sequence[Job]:
        """The newest ones first."""
        ...

    def count(self) -> int:
        """How many jobs there are."""
        ...

    def cancel(self, job_id: str, *, now_ms: int) -> bool:
        """End a job that has not finished; False when it has."""
        ...

    def remove(self, job_id: str) -> None:
        """Forget it, with all that belongs to it."""
        ...

    def want(self, job_id: str, format: Format) -> None:
        """Have a format of the result made."""
        ...

    def expire(self, *, before_ms: int, now_ms: int) -> int:
        """Remove jobs that are older, and uploads that ended half way; tells how many."""
        ...

    def has_work(self, *, now_ms: int) -> bool:
        """Whether there is a job that nobody works on."""
        ...

    def claim(self, owner: str, *, to_render: bool, now_ms: int, until_ms: int) -> Job | None:
        """Take the oldest job that nobody works on.

        Args:
            to_render: of those whose result is wanted in a further format; else of those that are to be scored.
        """
        ...

    def renew(self, job_id: str, owner: str, *, until_ms: int, code: str = "", reason: str = "") -> None:
        """Keep it, and say what it waits for.

        Raises:
            LeaseLost
        """
        ...

    def release(self, job_id: str, owner: str) -> None:
        """Let others have it."""
        ...

    def commit(self, job_id: str, owner: str, parts: Sequence[Part], progress: str, *, until_ms: int) -> None:
        """Parts, and how far it is with these; all or none.

        Raises:
            LeaseLost
        """
        ...

    def finish(
        self,
        job_id: str,
        owner: str,
        state: State,
        parts: Sequence[Part],
        progress: str,
        *,
        now_ms: int,
        code: str = "",
        reason: str = "",
    ) -> None:
        """The same for the last time.

        Raises:
            LeaseLost
        """
        ...

    def made(self, job_id: str, owner: str, format: Format) -> None:
        """A format of the result is there as a whole."""
        ...

    def drop_parts(self, job_id: str, kind: Kind) -> None:
        """Remove what there is of one kind."""
        ...

    def part_at(self, job_id: str, kind: Kind, start: int) -> Part | None:
        """The part that holds this byte of the whole."""
        ...

    def part_with(self, job_id: str, kind: Kind, item: int) -> Part | None:
        """The part that holds this row or error."""
        ...

    def piece(self, job_id: str, kind: Kind, number: int, start: int, n_bytes: int) -> bytes:
        """Bytes of a part's body, from one on; fewer at its end."""
        ...

    def size(self, job_id: str, kind: Kind) -> int:
        """How many bytes there are of one kind, in all parts."""
        ...

    def records(self, job_id: str, rows: Sequence[int]) -> Sequence[bytes]:
        """These rows of the result as CSV, each with its end of line."""
        ...
