"""One file, scored by the models alone: in this process, or part by part in several."""

from __future__ import annotations

import csv
import io
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from telelink_score.models import Models, load_models
from telelink_score.parts import Part, PartedFile, open_parted
from telelink_score.whole import whole_file
from telelink_shared.bulk.checking import Checker
from telelink_shared.bulk.files import text_result
from telelink_shared.bulk.summary import Summary
from telelink_shared.bulk.table import Fault, Format, Position, Scored, Source
from telelink_shared.decision import Policy

Answer = TypeVar("Answer")

# Of parts that are scored or wait to be written, for each process: what bounds the memory.
_PARTS_AHEAD: Final = 3


@dataclass(frozen=True)
class Task:
    """A file to be scored, and how.

    Attributes:
        mapping: the field by header, for headers that are not known.
        policy: without limits of value, those of the value model are in force.
    """

    path: Path
    format: Format
    into: Format
    mapping: Mapping[str, str]
    churn_models: Path
    clv_models: Path
    policy: Policy


@dataclass(frozen=True)
class Piece:
    """A scored part.

    Attributes:
        body: its rows as they are written: text, or for Parquet a stream of Arrow's.
        end: where the part ends.
    """

    body: bytes
    end: Position
    n_rows: int
    n_failed: int
    faults: list[Fault]
    summary: Summary


@dataclass(frozen=True)
class Outcome:
    """What was found in a file.

    Attributes:
        n_failed: rows that are not in order.
    """

    n_rows: int
    n_failed: int
    summary: Summary


class PartScorer:
    """Scores parts of one file.

    Raises:
        BadFile, ArtifactError, OSError
    """

    def __init__(self, task: Task, file: PartedFile) -> None:
        self._file = file
        self._models: Models = load_models(task.churn_models, task.clv_models, task.policy)
        self._checker = Checker(file.source.layout, is_text=file.source.is_text)
        self._body = _body_of(file.source, task.into)

    def score(self, part: Part) -> Piece:
        """The rows of a part.

        Raises:
            BadFile
        """
        scored = [self._models.score(chunk, self._checker.check(chunk)) for chunk in self._file.chunks(part)]
        summary = Summary()
        for each in scored:
            summary = summary.plus(each)
        checked = [each.checked for each in scored]
        return Piece(
            self._body(scored),
            part.end,
            sum(each.n_rows for each in checked),
            sum(len(each.faults) for each in checked),
            [fault for each in checked for row in sorted(each.faults) for fault in each.faults[row]],
            summary,
        )


def _body_of(source: Source, into: Format) -> Callable[[Iterable[Scored]], bytes]:
    if into != "parquet":
        result = text_result(source, into)
        return lambda scored: "".join(row for each in scored for row in result.rows(each)).encode(
            errors="surrogateescape"
        )
    from arro3.core import RecordBatchReader
    from arro3.io import write_ipc_stream

    table = _parquet_result(source)

    def stream(scored: Iterable[Scored]) -> bytes:
        body = io.BytesIO()
        write_ipc_stream(RecordBatchReader.from_batches(table.schema, map(table.batch, scored)), body, compression=None)
        return body.getvalue()

    return stream


def _parquet_result(source: Source) -> Any:
    from telelink_shared.bulk.parquet_file import ParquetResult, ParquetSource

    return ParquetResult(source.layout, source.schema if isinstance(source, ParquetSource) else None)


_scorer: PartScorer | None = None
_opened: Final = ExitStack()


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal: the first one ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _begin(task: Task) -> None:
    """In a worker process."""
    global _scorer
    _ignore_interrupts()
    _scorer = PartScorer(task, _opened.enter_context(open_parted(task.path, task.format, task.mapping)))


def _score(part: Part) -> Piece:
    assert _scorer is not None
    return _scorer.score(part)


def _in_processes(task: Task, parts: Iterator[Part], n_processes: int) -> Iterator[Piece]:
    """Scored parts in their order; never more than a few of them are there at once."""
    # What is wrong with the models is told here: a process that cannot begin tells nobody why.
    load_models(task.churn_models, task.clv_models, task.policy)
    pool = _pool(n_processes, _begin, task)
    waiting: deque[Future[Piece]] = deque()
    try:
        waiting.extend(_submit(pool, _score, part) for part in islice(parts, n_processes * _PARTS_AHEAD))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(_submit(pool, _score, part) for part in islice(parts, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def score_file(
    task: Task,
    result: Path,
    errors: Path | None = None,
    *,
    n_processes: int = 1,
    seen: Callable[[Piece], object] = lambda _piece: None,
) -> Outcome:
    """Score a file: its result appears whole or not at all, and is the same however many processes there are.

    Args:
        errors: where to write what is wrong with rows that are not in order, as CSV.
        seen: is told of each part when its turn has come.

    Raises:
        BadFile, ArtifactError, OSError
        BrokenProcessPool: a process was ended by others.
    """
    with open_parted(task.path, task.format, task.mapping) as file, ExitStack() as outputs:
        body = outputs.enter_context(whole_file(result))
        said = None if errors is None else outputs.enter_context(whole_file(errors))
        if n_processes > 1:
            pieces = _in_processes(task, file.parts(), n_processes)
        else:
            pieces = map(PartScorer(task, file).score, _parts_apart(task))
        outputs.callback(getattr(pieces, "close", lambda: None))
        counted = _Counted(pieces, said, seen)
        if task.into == "parquet":
            _parquet_result(file.source).write_batches(_batches(counted), body)
        else:
            body.write(text_result(file.source, task.into).header())
            for piece in counted:
                body.write(piece.body)
        return counted.outcome


def score_files(tasks: Sequence[tuple[Task, Path, Path | None]], *, n_processes: int) -> Iterator[Outcome]:
    """Score several files, each by one process; outcomes in their order.

    Args:
        tasks: with the result and where to write what is wrong with rows, as for `score_file`.

    Raises:
        as `score_file`, of the first file that cannot be scored
    """
    pool = _pool(min(n_processes, len(tasks)), _ignore_interrupts)
    try:
        futures = [_submit(pool, score_file, *task) for task in tasks]
        for future in futures:
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(n_processes: int, begin: Callable[..., object], *arguments: object) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(n_processes, mp_context=context, initializer=begin, initargs=arguments)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Interrupts are heard when the block has ended; a process that is started in it never hears Ctrl-C.

    Half started, or not yet at its first line, it would print a trace.
    """
    heard: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()  # no other may set handlers, or is interrupted
    handlers = {
        number: signal.signal(number, lambda number, _frame: heard.append(number))
        for number in ((signal.SIGINT, signal.SIGTERM) if is_main else ())
    }
    # It would lift the block again, were it started after.
    resource_tracker.ensure_running()
    # This is for the new process, which inherits it; here another thread may take the signal.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if heard:
            signal.raise_signal(heard[0])


def _submit(pool: ProcessPoolExecutor, function: Callable[..., Answer], *arguments: object) -> Future[Answer]:
    with _uninterrupted():
        return pool.submit(function, *arguments)


def _parts_apart(task: Task) -> Iterator[Part]:
    """Found in a file of its own, so that nobody moves in the other meanwhile."""
    with open_parted(task.path, task.format, task.mapping) as file:
        yield from file.parts()


class _Counted:
    """Pieces on their way to the result: counted, and what is wrong with rows written on the way."""

    def __init__(self, pieces: Iterator[Piece], errors: BinaryIO | None, seen: Callable[[Piece], object]) -> None:
        self._pieces = pieces
        self._errors = errors
        self._seen = seen
        self.outcome = Outcome(0, 0, Summary())
        if errors is not None:
            write_faults(errors, (), with_header=True)

    def __iter__(self) -> Iterator[Piece]:
        for piece in self._pieces:
            if self._errors is not None and piece.faults:
                write_faults(self._errors, piece.faults)
            so_far = self.outcome
            so_far.summary.join(piece.summary)
            self.outcome = Outcome(so_far.n_rows + piece.n_rows, so_far.n_failed + piece.n_failed, so_far.summary)
            self._seen(piece)
            yield piece


def write_faults(file: BinaryIO, faults: Iterable[Fault], *, with_header: bool = False) -> None:
    """What is wrong with rows, as CSV."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    if with_header:
        writer.writerow(Fault._fields)
    writer.writerows(faults)
    file.write(text.getvalue().encode())


def _batches(pieces: Iterable[Piece]) -> Iterator[Any]:
    from arro3.io import read_ipc_stream

    for piece in pieces:
        yield from read_ipc_stream(io.BytesIO(piece.body))
