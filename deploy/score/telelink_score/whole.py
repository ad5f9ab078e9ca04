"""Files that appear under their names whole or not at all."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

_N_BYTES_OF_CHANCE: Final = 4


def mode_of(path: Path) -> int | None:
    """The permissions of what stands there; None where nothing does, so that the umask says them."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name when the block ends well, and not at all otherwise.

    It has the permissions of the one whose place it takes. Who else writes the same one meanwhile is not disturbed: the
    last to end wins.
    """
    mode = mode_of(path)
    with _begun(path) as file:
        unfinished = Path(file.name)
        try:
            if mode is not None:
                # At once: what few may read is not to be read by more meanwhile. Yet so that others can clear it away.
                unfinished.chmod(mode | 0o600)
            yield file
            file.flush()
            os.fsync(file.fileno())
            if mode is not None:
                unfinished.chmod(mode)
            # While it is still locked, or another might clear it away.
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    _clear_away_left(path)


def _begun(path: Path) -> BinaryIO:
    """A new file beside it, locked for as long as somebody is at work on it."""
    while True:
        # By chance, not by the number of the process: on several machines that may be the same.
        file = path.with_name(f".{path.name}.{secrets.token_hex(_N_BYTES_OF_CHANCE)}.unfinished").open("xb")
        with suppress(OSError):  # a file system without locks: then nobody clears it away either
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        # Taken for one that was left, in the moment before it was locked.
        file.close()


def _clear_away_left(path: Path) -> None:
    """What others have left who were killed at the same work."""
    # Of a fixed form: the name of this result may be the beginning of another's.
    form = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{{2 * _N_BYTES_OF_CHANCE}}}\.unfinished")
    for left in [each for each in path.parent.iterdir() if form.fullmatch(each.name)]:
        # It is gone, of somebody else's, or somebody is at work on it.
        with suppress(OSError), left.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink(missing_ok=True)
