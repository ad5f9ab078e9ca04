"""A set of files, scored on a Dask cluster: a file is what a worker takes on, and does again where another was lost.

Workers read and write the files themselves, so these must be there for all of them under the same names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from telelink_score.scoring import Outcome, Task, score_file
from telelink_shared.cluster import open_cluster


def score_on_cluster(address: str, tasks: Sequence[tuple[Task, Path, Path | None]]) -> Iterator[Outcome]:
    """Score several files; outcomes in their order. Each result is there, whole, before it is told of.

    Args:
        tasks: with the result and where to write what is wrong with rows, as for `score_file`.

    Raises:
        ClusterError
        as `score_file`, of the first file that cannot be scored
    """
    with open_cluster(address) as client:
        # Not `pure`: or the outcome of an earlier run would be taken for this one's.
        futures = [client.submit(score_file, *task, pure=False) for task in tasks]
        for future in futures:
            yield future.result()
