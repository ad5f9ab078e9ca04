"""Which files are to be scored, and where each one's result goes."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from telelink_score.errors import UsageError
from telelink_score.parts import SUFFIXES, format_of
from telelink_shared.bulk.table import Format


@dataclass(frozen=True)
class Pair:
    """A file of customers and its result.

    Attributes:
        errors: where to write what is wrong with rows; None for nowhere.
    """

    customers: Path
    format: Format
    result: Path
    into: Format
    errors: Path | None


def pairs_of(customers: str, out: Path, errors: Path | None, *, into: Format | None = None) -> list[Pair]:
    """One pair for a file; for a folder or a pattern, one for each file in it, by name.

    Args:
        into: the format of results in a folder; None for that of each file.

    Raises:
        UsageError: a result would take the place of something else.
        UnknownFormat: a name does not say what it holds.
        FileNotFoundError: there is no such file.
    """
    if not customers:
        raise UsageError("name a file of customers, or a folder")
    path = Path(customers)
    if path.is_file():
        pairs = [Pair(path, format_of(path), out, into or format_of(out), errors)]
    else:
        pairs = _pairs_in(_files_in(customers), out, errors, into)
    pairs = [
        replace(pair, result=_target(pair.result), errors=None if pair.errors is None else _target(pair.errors))
        for pair in pairs
    ]
    _refuse_losses(pairs)
    # Only now: what is refused leaves nothing behind.
    if not path.is_file():
        for folder in filter(None, (out, errors)):
            folder.mkdir(parents=True, exist_ok=True)
    return pairs


def _files_in(customers: str) -> list[Path]:
    path = Path(customers)
    if path.is_dir():
        found = [each for each in path.iterdir() if each.is_file() and each.suffix.lower() in SUFFIXES]
    else:
        found = [each for each in map(Path, glob.glob(customers)) if each.is_file()]  # noqa: PTH207  # may be absolute
    # What a writer has not finished, or a system put there.
    found = sorted(each for each in found if not each.name.startswith((".", "_")))
    if not found:
        raise FileNotFoundError(f"{customers}: there is no such file, and no folder with files of customers")
    return found


def _pairs_in(found: Sequence[Path], out: Path, errors: Path | None, into: Format | None) -> list[Pair]:
    if out.resolve() in {each.parent.resolve() for each in found}:
        raise UsageError(f"{out}: results would take the place of customers; name another folder")
    pairs = []
    for each in found:
        suffix = f".{into}" if into else each.suffix
        problems = None if errors is None else errors / f"{each.stem}.csv"
        pairs.append(Pair(each, format_of(each), out / f"{each.stem}{suffix}", into or format_of(each), problems))
    return pairs


def _target(path: Path) -> Path:
    """Where a link leads: what it points to is written, and the link stays."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _targets(pairs: Sequence[Pair]) -> Iterator[Path]:
    for pair in pairs:
        yield pair.result
        if pair.errors is not None:
            yield pair.errors


def _refuse_losses(pairs: Sequence[Pair]) -> None:
    """Refuse what would cost a file of customers, another result, or what is no file at all.

    Raises:
        UsageError
    """
    customers = {_identity(pair.customers) for pair in pairs}
    names: set[str] = set()
    for target in _targets(pairs):
        if target.is_symlink() or (target.exists() and not target.is_file()):
            raise UsageError(f"{target}: is not a regular file, so no result can take its place")
        if target.exists() and _identity(target) in customers:
            raise UsageError(f"{target}: is a file of customers, and its result would take its place")
        name = os.path.realpath(target)
        if name in names:
            raise UsageError(f"{target}: two results would have this name, and one would be lost")
        names.add(name)


def _identity(path: Path) -> tuple[int, int]:
    """The same for all names of one file."""
    seen = path.stat()
    return seen.st_dev, seen.st_ino
