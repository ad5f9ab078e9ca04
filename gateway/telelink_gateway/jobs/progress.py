"""How far a job is: what a worker needs to go on, and what people want to know."""

from __future__ import annotations

from pydantic import BaseModel

from telelink_gateway.jobs.store import Job
from telelink_shared.bulk.summary import Summary
from telelink_shared.bulk.table import Position


class Progress(BaseModel):
    """After the last whole chunk.

    Attributes:
        n_chunks: how many there were.
        row, offset, line: where the next one begins; see `Position`.
        n_errors: faults, of which a row may have several.
        n_error_bytes, n_csv_bytes: of the parts so far.
        share: how much of the input has been read, from 0 to 1.
        rows_per_s: lately; None before it is known.
        headers: of the result as CSV.
        fields: where in a row of the result each field is, by the API's name.
        delimiter: of the result as CSV.
        versions: of the models that answered, by model.
        policy_version: by which it was decided.
    """

    n_chunks: int = 0
    row: int = 0
    offset: int = 0
    line: int = 1
    failed: int = 0
    n_errors: int = 0
    n_error_bytes: int = 0
    n_csv_bytes: int = 0
    share: float = 0.0
    rows_per_s: float | None = None
    headers: list[str] = []
    fields: dict[str, int] = {}
    delimiter: str = ","
    versions: dict[str, list[str]] = {}
    policy_version: str = ""
    summary: Summary = Summary()

    @property
    def position(self) -> Position | None:
        """Where to go on; None: at the beginning."""
        return Position(self.row, self.offset, self.line) if self.n_chunks else None

    @property
    def seconds_left(self) -> float | None:
        """How long it will take from here, as far as that can be known."""
        if not self.rows_per_s or not self.share:
            return None
        return max(0.0, self.row / self.share - self.row) / self.rows_per_s


def progress_of(job: Job) -> Progress:
    """How far it is."""
    return Progress.model_validate_json(job.progress) if job.progress else Progress()
