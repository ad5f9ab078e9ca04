"""Runs fits on all cores with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from joblib import Parallel, delayed
from tqdm import tqdm

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_parallel(
    function: Callable[[Task], Result], tasks: Iterable[Task], *, jobs: int, label: str
) -> Sequence[Result]:
    """`function` of each task, in their order, computed on `jobs` cores (-1: all of them)."""
    todo = list(tasks)
    results = Parallel(n_jobs=jobs, return_as="generator")(delayed(function)(task) for task in todo)
    return list(tqdm(results, total=len(todo), desc=label, unit="fit", mininterval=0.5))
