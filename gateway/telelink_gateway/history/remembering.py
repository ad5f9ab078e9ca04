"""What is read from the database for whoever asks, and told again for a while where reading it took long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

# What took longer than this is told again for so many times as long: a twentieth of a core at most.
_CHEAP_S: Final = 0.05
_REUSE: Final = 20

T = TypeVar("T")


class _Read(NamedTuple, Generic[T]):
    what: T
    begun_at: float
    reusable_until: float


class Remembered(Generic[T]):
    """One question to the database.

    Args:
        read: asks it; called in a thread.
        reading: held meanwhile; questions that share it are asked one after another.
    """

    def __init__(self, read: Callable[[], T], reading: asyncio.Lock) -> None:
        self._read_now = read
        self._reading = reading
        self._latest: _Read[T] | None = None
        self._valid_from = 0.0
        self._task: asyncio.Task[None] | None = None

    async def get(self) -> T:
        """The answer now; where reading it takes long, as it was a short while ago."""
        asked_at = time.monotonic()
        while True:
            latest = self._latest
            if latest is not None and self._is_good(latest, asked_at):
                return latest.what
            if self._task is None:
                self._task = asyncio.create_task(self._read())
                self._task.add_done_callback(self._done)
            # Who hangs up ends no reading: the thread would go on, and the next one begin beside it.
            await asyncio.shield(self._task)

    def _is_good(self, read: _Read[T], asked_at: float) -> bool:
        is_fresh = read.begun_at >= asked_at or read.reusable_until > asked_at
        return is_fresh and read.begun_at >= self._valid_from

    async def _read(self) -> None:
        async with self._reading:
            begun_at = time.monotonic()
            what = await asyncio.to_thread(self._read_now)
        now = time.monotonic()
        took_s = now - begun_at
        self._latest = _Read(what, begun_at, now + _REUSE * took_s if took_s > _CHEAP_S else begun_at)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled():
            task.exception()  # whoever still waits is told

    def forget(self) -> None:
        """Tell nothing more that was begun to be read before now."""
        self._valid_from = time.monotonic()
