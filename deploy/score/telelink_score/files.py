"""Which files are to be scored, and where each one's result goes."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

from telelink_score.parts import SUFFIXES, UnknownFormat, format_of
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
        UnknownFormat: a name does not say what it holds.
        FileNotFoundError: there is no such file.
    """
    path = Path(customers)
    if path.is_file():
        return [Pair(path, format_of(path), out, into or format_of(out), errors)]
    if path.is_dir():
        found = [each for each in path.iterdir() if each.is_file() and each.suffix.lower() in SUFFIXES]
    else:
        found = [each for each in map(Path, glob.glob(customers)) if each.is_file()]  # noqa: PTH207  # may be absolute
    # What a writer has not finished, or a system put there.
    found = sorted(each for each in found if not each.name.startswith((".", "_")))
    if not found:
        raise FileNotFoundError(f"{customers}: there is no such file, and no folder with files of customers")
    out.mkdir(parents=True, exist_ok=True)
    if errors is not None:
        errors.mkdir(parents=True, exist_ok=True)
    if out.resolve() in {each.parent.resolve() for each in found}:
        raise UnknownFormat(f"{out}: results would take the place of customers; name another folder")
    pairs = []
    for each in found:
        suffix = f".{into}" if into else each.suffix
        problems = None if errors is None else errors / f"{each.stem}.csv"
        pairs.append(Pair(each, format_of(each), out / f"{each.stem}{suffix}", into or format_of(each), problems))
    return pairs
