"""Where jobs are kept: tables, statements and steps that SQLite and PostgreSQL have in common."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Final

from telelink_gateway.jobs.store import Job, KeyTaken, Kind, LeaseLost, Part, State
from telelink_shared.bulk.table import Format

SCHEMA_VERSION: Final = 1

TABLES: Final = (
    """
CREATE TABLE jobs (
    id {text} PRIMARY KEY,
    created_at_ms {integer} NOT NULL,
    caller {text},
    format {text} NOT NULL,
    mapping {text} NOT NULL,
    key {text} UNIQUE,
    fingerprint {bytes},
    state {text} NOT NULL,
    n_bytes {integer} NOT NULL,
    revision {integer} NOT NULL,
    started_at_ms {integer},
    finished_at_ms {integer},
    code {text} NOT NULL,
    reason {text} NOT NULL,
    progress {text} NOT NULL,
    wanted {text} NOT NULL,
    n_deaths {integer} NOT NULL,
    owner {text},
    leased_until_ms {integer} NOT NULL DEFAULT 0
){strict}
""",
    # What is looked for stands before what is large.
    """
CREATE TABLE job_parts (
    job_id {text} NOT NULL REFERENCES jobs (id),
    kind {text} NOT NULL,
    number {integer} NOT NULL,
    start {integer} NOT NULL,
    first {integer} NOT NULL,
    n_items {integer} NOT NULL,
    n_bytes {integer} NOT NULL,
    places {bytes} NOT NULL,
    body {bytes} NOT NULL,
    PRIMARY KEY (job_id, kind, number)
){strict}
""",
    "CREATE INDEX job_parts_by_start ON job_parts (job_id, kind, start)",
    "CREATE INDEX job_parts_by_first ON job_parts (job_id, kind, first)",
)

_JOB: Final = ", ".join(Job._fields)
_BEGIN: Final = f"""
INSERT INTO jobs ({_JOB}, leased_until_ms) VALUES ({", ".join("?" * (len(Job._fields) + 1))})
ON CONFLICT (key) DO NOTHING
"""
_ADD: Final = """
INSERT INTO job_parts (job_id, kind, number, start, first, n_items, n_bytes, places, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_TO_SCORE: Final = "state IN ('queued', 'running') AND leased_until_ms <= ?"
_TO_RENDER: Final = "wanted <> '' AND state = 'succeeded' AND leased_until_ms <= ?"
# Whoever takes up again what it could not release in an outage has not died over it.
_CLAIM: Final = f"""
UPDATE jobs SET owner = ?, leased_until_ms = ?, revision = revision + 1,
    n_deaths = CASE WHEN owner IS NULL OR owner = ? THEN n_deaths ELSE n_deaths + 1 END,
    state = CASE state WHEN 'queued' THEN 'running' ELSE state END,
    started_at_ms = coalesce(started_at_ms, ?)
WHERE id = (SELECT id FROM jobs WHERE {{free}} ORDER BY created_at_ms, id LIMIT 1) AND {{free}}
RETURNING {_JOB}
"""
_RENEW: Final = """
UPDATE jobs SET leased_until_ms = ?, code = ?, reason = ?,
    n_deaths = CASE WHEN ? = '' THEN n_deaths ELSE 0 END,
    revision = revision + CASE WHEN code = ? AND reason = ? THEN 0 ELSE 1 END
WHERE id = ? AND owner = ?
"""
_COMMIT: Final = """
UPDATE jobs SET progress = ?, leased_until_ms = ?, code = '', reason = '', n_deaths = 0, revision = revision + 1
WHERE id = ? AND owner = ?
"""
_FINISH: Final = """
UPDATE jobs SET state = ?, progress = ?, code = ?, reason = ?, finished_at_ms = ?, revision = revision + 1,
    owner = NULL, leased_until_ms = 0
WHERE id = ? AND owner = ?
"""
_CANCEL: Final = """
UPDATE jobs SET state = 'cancelled', finished_at_ms = ?, owner = NULL, leased_until_ms = 0, code = '', reason = '',
    revision = revision + 1
WHERE id = ? AND state IN ('uploading', 'queued', 'running')
"""
_DROP: Final = "DELETE FROM job_parts WHERE job_id = ? AND kind = ?"
_PART: Final = ", ".join(Part._fields)


def _part(kind: Kind, number: int, start: int, first: int, n_items: int, body: Any, places: Any) -> Part:
    return Part(kind, number, start, first, n_items, bytes(body), bytes(places))


class JobStore(ABC):
    """A database, which adds how it connects, begins and executes.

    Several threads may call it; each call is one transaction.

    Attributes:
        outages: what a step raises when the database is out just now, or has no room: later the same step may succeed.
    """

    outages: ClassVar[tuple[type[Exception], ...]]

    def __init__(self) -> None:
        self._lock = threading.RLock()

    @abstractmethod
    def open(self) -> None:
        """Connect, and make the tables where there are none.

        Raises:
            StartupError: not without a change of the settings, or of what they lead to.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection."""

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[Any]:
        """Commits at its end, or rolls back; the lock is held within."""

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Any]:
        """For statements that only read; the lock is held within."""

    @abstractmethod
    def _execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """A cursor, with what the statement returned or how many rows it changed."""

    def _tidy_up(self) -> None:  # noqa: B027  # nothing to do is a fair answer
        """Give back the room of what was removed."""

    def begin(self, job: Job, *, until_ms: int) -> None:
        """A new job, whose input is still to come, the first of it by then.

        Raises:
            KeyTaken
        """
        with self._transaction():
            if not self._execute(_BEGIN, (*job, until_ms)).rowcount:
                raise KeyTaken

    def append(self, job_id: str, part: Part, *, until_ms: int) -> None:
        """A further part of the input; more is to come by then.

        Raises:
            LeaseLost: the job has been removed.
        """
        with self._transaction():
            touched = self._execute(
                "UPDATE jobs SET n_bytes = ?, leased_until_ms = ? WHERE id = ? AND state = 'uploading'",
                (part.start + len(part.body), until_ms, job_id),
            )
            if not touched.rowcount:
                raise LeaseLost
            self._add(job_id, [part])

    def keep_upload(self, job_id: str, *, until_ms: int) -> None:
        """More is to come by then.

        Raises:
            LeaseLost
        """
        with self._transaction():
            self._must_be_ours(
                self._execute(
                    "UPDATE jobs SET leased_until_ms = ? WHERE id = ? AND state = 'uploading'", (until_ms, job_id)
                )
            )

    def _add(self, job_id: str, parts: Sequence[Part]) -> None:
        for part in parts:
            self._execute(
                _ADD,
                (
                    job_id,
                    part.kind,
                    part.number,
                    part.start,
                    part.first,
                    part.n_items,
                    len(part.body),
                    part.places,
                    part.body,
                ),
            )

    def submit(self, job_id: str, *, n_bytes: int, fingerprint: bytes | None) -> None:
        """The input is whole: from now on the job may be taken.

        Raises:
            LeaseLost
        """
        with self._transaction():
            touched = self._execute(
                "UPDATE jobs SET state = 'queued', n_bytes = ?, fingerprint = ?, leased_until_ms = 0, "
                "revision = revision + 1 WHERE id = ? AND state = 'uploading'",
                (n_bytes, fingerprint, job_id),
            )
            if not touched.rowcount:
                raise LeaseLost

    def find(self, job_id: str) -> Job | None:
        """The job of this id."""
        return self._one_job("id = ?", job_id)

    def find_by_key(self, key: str) -> Job | None:
        """The job that was made under this key."""
        return self._one_job("key = ?", key)

    def _one_job(self, condition: str, value: str) -> Job | None:
        with self._reading():
            found = self._execute(f"SELECT {_JOB} FROM jobs WHERE {condition}", (value,)).fetchone()
        return None if found is None else Job(*found)

    def latest(self, *, limit: int) -> Sequence[Job]:
        """The newest ones first."""
        with self._reading():
            found = self._execute(
                f"SELECT {_JOB} FROM jobs WHERE state <> 'uploading' ORDER BY created_at_ms DESC, id DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [Job(*each) for each in found]

    def count(self) -> int:
        """How many jobs there are."""
        with self._reading():
            (n_jobs,) = self._execute("SELECT count(*) FROM jobs").fetchone()
        return int(n_jobs)

    def cancel(self, job_id: str, *, now_ms: int) -> bool:
        """End a job that has not finished; False when it has."""
        with self._transaction():
            return bool(self._execute(_CANCEL, (now_ms, job_id)).rowcount)

    def remove(self, job_id: str) -> None:
        """Forget it, with all that belongs to it."""
        with self._transaction():
            self._execute("DELETE FROM job_parts WHERE job_id = ?", (job_id,))
            self._execute("DELETE FROM jobs WHERE id = ?", (job_id,))
        self._tidy_up()

    def want(self, job_id: str, format: Format) -> None:
        """Have a format of the result made."""
        with self._transaction():
            self._execute(
                "UPDATE jobs SET wanted = ltrim(wanted || ' ' || ?) WHERE id = ? AND wanted NOT LIKE ?",
                (format, job_id, f"%{format}%"),
            )

    def expire(self, *, before_ms: int, now_ms: int) -> int:
        """Remove jobs that are older, and uploads that ended half way; tells how many."""
        with self._transaction():
            found = self._execute(
                "SELECT id FROM jobs WHERE created_at_ms < ? OR (state = 'uploading' AND leased_until_ms < ?)",
                (before_ms, now_ms),
            ).fetchall()
        for (job_id,) in found:
            self.remove(job_id)
        return len(found)

    def has_work(self, *, now_ms: int) -> bool:
        """Whether there is a job that nobody works on."""
        with self._reading():
            return (
                self._execute(
                    f"SELECT 1 FROM jobs WHERE ({_TO_SCORE}) OR ({_TO_RENDER}) LIMIT 1", (now_ms, now_ms)
                ).fetchone()
                is not None
            )

    def claim(self, owner: str, *, to_render: bool, now_ms: int, until_ms: int) -> Job | None:
        """Take the oldest job that nobody works on.

        Args:
            to_render: of those whose result is wanted in a further format; else of those that are to be scored.
        """
        statement = _CLAIM.format(free=_TO_RENDER if to_render else _TO_SCORE)
        with self._transaction():
            found = self._execute(statement, (owner, until_ms, owner, now_ms, now_ms, now_ms)).fetchone()
        return None if found is None else Job(*found)

    def _renew(self, job_id: str, owner: str, until_ms: int, code: str = "", reason: str = "") -> None:
        values = (until_ms, code, reason, code, code, reason, job_id, owner)
        self._must_be_ours(self._execute(_RENEW, values))

    def renew(self, job_id: str, owner: str, *, until_ms: int, code: str = "", reason: str = "") -> None:
        """Keep it, and say what it waits for: that is no fault of the file, however many workers die meanwhile.

        Raises:
            LeaseLost
        """
        with self._transaction():
            self._renew(job_id, owner, until_ms, code, reason)

    def release(self, job_id: str, owner: str) -> None:
        """Let others have it."""
        with self._transaction():
            self._execute(
                "UPDATE jobs SET owner = NULL, leased_until_ms = 0 WHERE id = ? AND owner = ?", (job_id, owner)
            )

    def commit(self, job_id: str, owner: str, parts: Sequence[Part], progress: str, *, until_ms: int) -> None:
        """Parts, and how far it is with these; all or none.

        Raises:
            LeaseLost
        """
        with self._transaction():
            self._must_be_ours(self._execute(_COMMIT, (progress, until_ms, job_id, owner)))
            self._add(job_id, parts)

    def rank(self, job_id: str, owner: str, part: Part, *, until_ms: int) -> None:
        """A part of the order; the first takes the place of whatever somebody left who did not come to the end.

        Raises:
            LeaseLost
        """
        with self._transaction():
            self._renew(job_id, owner, until_ms)
            if part.number == 0:
                self._execute(_DROP, (job_id, part.kind))
            self._add(job_id, [part])

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
        with self._transaction():
            self._must_be_ours(self._execute(_FINISH, (state, progress, code, reason, now_ms, job_id, owner)))
            self._add(job_id, parts)

    def made(self, job_id: str, owner: str, format: Format) -> None:
        """A format of the result is there as a whole, or given up."""
        with self._transaction():
            touched = self._execute(
                "UPDATE jobs SET wanted = trim(replace(wanted, ?, '')), revision = revision + 1, n_deaths = 0, "
                "owner = NULL, leased_until_ms = 0 WHERE id = ? AND owner = ?",
                (format, job_id, owner),
            )
            self._must_be_ours(touched)

    @staticmethod
    def _must_be_ours(touched: Any) -> None:
        if not touched.rowcount:
            raise LeaseLost

    def drop_parts(self, job_id: str, kind: Kind) -> None:
        """Remove what there is of one kind."""
        with self._transaction():
            self._execute(_DROP, (job_id, kind))

    def part_at(self, job_id: str, kind: Kind, start: int) -> Part | None:
        """The part that holds this byte of the whole."""
        return self._one_part("start", job_id, kind, start)

    def part_with(self, job_id: str, kind: Kind, item: int) -> Part | None:
        """The part that holds this row or error."""
        return self._one_part("first", job_id, kind, item)

    def _one_part(self, column: str, job_id: str, kind: Kind, value: int) -> Part | None:
        with self._reading():
            found = self._execute(
                f"SELECT {_PART} FROM job_parts WHERE job_id = ? AND kind = ? AND {column} <= ? "
                f"ORDER BY {column} DESC LIMIT 1",
                (job_id, kind, value),
            ).fetchone()
        return None if found is None else _part(*found)

    def piece(self, job_id: str, kind: Kind, number: int, start: int, n_bytes: int) -> bytes:
        """Bytes of a part's body, from one on; fewer at its end."""
        with self._reading():
            (body,) = self._execute(
                "SELECT substr(body, ?, ?) FROM job_parts WHERE job_id = ? AND kind = ? AND number = ?",
                (start + 1, n_bytes, job_id, kind, number),
            ).fetchone()
        return bytes(body)

    def size(self, job_id: str, kind: Kind) -> int:
        """How many bytes there are of one kind, in all parts."""
        with self._reading():
            (n_bytes,) = self._execute(
                "SELECT coalesce(max(start + n_bytes), 0) FROM job_parts WHERE job_id = ? AND kind = ?", (job_id, kind)
            ).fetchone()
        return int(n_bytes)

    def records(self, job_id: str, rows: Sequence[int]) -> Sequence[bytes]:
        """These rows of the result as CSV, each with its end of line."""
        found = []
        with self._reading():
            for row in rows:
                number, places = self._execute(
                    "SELECT number, substr(places, CAST((? - first) * 4 + 1 AS integer), 8) FROM job_parts "
                    "WHERE job_id = ? AND kind = 'csv' AND first <= ? ORDER BY first DESC LIMIT 1",
                    (row, job_id, row),
                ).fetchone()
                begin, end = (int.from_bytes(bytes(places)[at : at + 4], "little") for at in (0, 4))
                found.append(self.piece(job_id, "csv", number, begin, end - begin))
        return found
