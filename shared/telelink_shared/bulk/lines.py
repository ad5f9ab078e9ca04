"""A file's lines, read a block at a time: what is held is a block, and a line has a limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from telelink_shared.bulk.table import BadFile

_BLOCK_BYTES: Final = 256 * 1024
MOST_BYTES_PER_LINE: Final = 256 * 1024


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Each with its end; the last one may have none.

    Raises:
        BadFile: one is longer than any row can be.
    """
    rest = b""
    while block := file.read(_BLOCK_BYTES):
        # `splitlines` also parts at a lone CR, which is no end of a line here.
        *whole, rest = (rest + block).split(b"\n")
        lines = [line + b"\n" for line in whole]
        if len(rest) > MOST_BYTES_PER_LINE or any(len(line) > MOST_BYTES_PER_LINE for line in lines):
            raise BadFile("line_too_long", f"A line has more than {MOST_BYTES_PER_LINE:,} bytes.")
        yield from lines
    if rest:
        yield rest


def decoded(line: bytes) -> tuple[str, bool]:
    """The text, and whether it is UTF-8: bytes that are not come through as they were."""
    try:
        return line.decode(), True
    except UnicodeDecodeError:
        return line.decode(errors="surrogateescape"), False
