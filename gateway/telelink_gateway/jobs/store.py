"""What is kept of jobs.

A job's input, its result and all else that is large is kept in parts, in one order each, and every part says where in
the whole it begins. So nothing is ever held as a whole, a job goes on behind the last part that was committed, and any
gateway that reaches the database can do so.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

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
