"""What was raised beneath a library that tells of it in words of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


class Cause:
    """The first that was raised beneath.

    To a reader its file is bad whatever the file raised, and a writer in compiled code hands on no exception of ours.
    """

    def __init__(self) -> None:
        self._error: Exception | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Beneath the library: what is raised here is the cause, behind which nothing more is done."""
        if self._error is not None:
            raise self._error
        try:
            yield
        except Exception as error:
            self._error = error
            raise

    def kept_of(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same of what the library takes one by one."""
        with self.kept():
            yield from items

    @contextmanager
    def told(self) -> Iterator[None]:
        """Around the library: whatever it raises, the cause comes out where there is one."""
        try:
            yield
        # What a library in compiled code did not think of is not even an Exception.
        except BaseException:
            if self._error is not None:
                raise self._error from None
            raise
