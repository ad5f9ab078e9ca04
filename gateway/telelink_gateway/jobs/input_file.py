"""The input of a job as a file: it is kept in parts, of which one is held at a time."""

from __future__ import annotations

import io

from telelink_gateway.jobs.cause import Cause
from telelink_gateway.jobs.sql_store import JobStore
from telelink_gateway.jobs.store import Part


class InputFile(io.RawIOBase):
    """Able to go to any place.

    Attributes:
        cause: what the store raised, which whoever reads a file takes for a fault of the file.
        share: how far the last read came, from 0 to 1 of all bytes.
    """

    def __init__(self, store: JobStore, job_id: str, n_bytes: int) -> None:
        self._store = store
        self._job_id = job_id
        self._n_bytes = n_bytes
        self._at = 0
        self._part = Part("input", 0, 0, 0, 0, b"")
        self.cause = Cause()
        self.share = 0.0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._n_bytes}[whence]
        return self._at

    # The base class takes any buffer that can be written; these are the two that are given.
    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """As many bytes as one part has from here on, at most as many as are wanted."""
        if self._at >= self._n_bytes:
            return 0
        within = self._at - self._part.start
        if not 0 <= within < len(self._part.body):
            with self.cause.kept():
                self._part = self._part_from_here()
            within = self._at - self._part.start
        found = self._part.body[within : within + len(buffer)]
        buffer[: len(found)] = found
        self._at += len(found)
        self.share = self._at / self._n_bytes
        return len(found)

    def _part_from_here(self) -> Part:
        part = self._store.part_at(self._job_id, "input", self._at)
        if part is None:
            raise OSError("the input of the job is gone")
        return part
