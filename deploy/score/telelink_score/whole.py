"""Files that appear under their names whole or not at all."""

from __future__ import annotations

import glob
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def mode_of(path: Path) -> int | None:
    """The permissions of what stands there; None where nothing does, so that the umask says them."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name when the block ends well, and not at all otherwise.

    It has the permissions of the one whose place it takes.
    """
    # By chance, not by the number of the process: on several machines that may be the same.
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.unfinished")
    mode = mode_of(path)
    try:
        with unfinished.open("wb") as file:
            if mode is not None:
                # At once: what few may read is not to be read by more meanwhile.
                unfinished.chmod(mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        # What others have left who were killed at the same work.
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.unfinished"):
            left.unlink(missing_ok=True)
    finally:
        unfinished.unlink(missing_ok=True)
