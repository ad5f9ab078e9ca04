"""Runs fits on all cores with a progress bar."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

Task = TypeVar("Task")
Result = TypeVar("Result")


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """What is started meanwhile never minds an interrupt: a terminal's Ctrl-C reaches every process at once.

    A mask would not do: joblib's own helper process unblocks the signal again.
    """
    if threading.current_thread() is not threading.main_thread():  # handlers are the main thread's alone
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_is_on_cluster: ContextVar[bool] = ContextVar("is_on_cluster", default=False)


@contextmanager
def on_cluster() -> Iterator[None]:
    """Meanwhile `in_parallel` uses the workers of the Dask cluster that is open, all of them."""
    token = _is_on_cluster.set(True)
    try:
        yield
    finally:
        _is_on_cluster.reset(token)


def _by_itself(function: Callable[[Task], Result], task: Task) -> Result:
    # On a Dask cluster each tree of a forest would otherwise become a task of its own.
    with parallel_config(backend="sequential"):
        return function(task)


def in_parallel(
    function: Callable[[Task], Result], tasks: Iterable[Task], *, jobs: int, label: str
) -> Sequence[Result]:
    """`function` of each task, in their order, computed on `jobs` cores (-1: all of them)."""
    todo = list(tasks)
    # For these fits alone: the trees of a forest that is fitted elsewhere are no tasks for a cluster.
    place = parallel_config(backend="dask", n_jobs=-1) if _is_on_cluster.get() else parallel_config(n_jobs=jobs)
    # This process alone takes the interrupt and ends its workers; each would else print a traceback of its own.
    with _interrupts_ignored(), place:
        results = Parallel(return_as="generator")(delayed(_by_itself)(function, task) for task in todo)
    try:
        return list(tqdm(results, total=len(todo), desc=label, unit="fit", mininterval=0.5))
    except BaseException:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that open tasks are given up is what is wanted
            results.close()
        raise
