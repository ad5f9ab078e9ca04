"""The command line: parses and prints; every step is elsewhere."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from tqdm import tqdm

import telelink_churn
import telelink_clv
from telelink_score.errors import GatewayError, UsageError
from telelink_score.files import Pair, pairs_of
from telelink_score.parts import UnknownFormat, open_parted
from telelink_score.scoring import Outcome, Piece, Task, score_file, score_files
from telelink_shared.artifact import ArtifactError
from telelink_shared.bulk.table import CAMEL, BadFile
from telelink_shared.cluster import ClusterError
from telelink_shared.decision import Policy
from telelink_shared.headers import spellings


def _bundled(package_file: str | None) -> Path:
    assert package_file is not None
    return Path(package_file).resolve().parents[1] / "models"


def _mapping(pairs: Sequence[str]) -> dict[str, str]:
    mapping = {}
    for pair in pairs:
        header, equals, column = pair.rpartition("=")
        if not equals or not header or not column:
            raise UsageError(f"--map takes HEADER=FIELD, not '{pair}'")
        mapping[header] = column
    return mapping


def _task(arguments: argparse.Namespace, pair: Pair) -> Task:
    churn_models, clv_models = arguments.models
    policy = Policy(high_value_from_usd=arguments.high_value_usd, top_value_from_usd=arguments.top_value_usd)
    return Task(
        path=pair.customers,
        format=pair.format,
        into=pair.into,
        mapping=_mapping(arguments.map),
        churn_models=churn_models,
        clv_models=clv_models,
        policy=policy,
    )


def _score_here(arguments: argparse.Namespace, pair: Pair) -> Outcome:
    is_text = pair.format != "parquet"
    size = pair.customers.stat().st_size if is_text else None
    with tqdm(
        total=size,
        desc=pair.customers.name,
        unit="B" if is_text else " customers",
        unit_scale=True,
        disable=arguments.quiet or None,
    ) as progress:

        def seen(piece: Piece) -> None:
            progress.update(piece.end.offset - progress.n if is_text else piece.n_rows)

        return score_file(_task(arguments, pair), pair.result, pair.errors, n_processes=arguments.jobs, seen=seen)


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _key_in(path: Path) -> str:
    key = path.read_bytes().strip()
    # What a header cannot carry; the key itself is not told.
    if not key or not all(0x20 < byte < 0x7F for byte in key):
        raise UsageError(f"{path}: holds no API key, which is one word of ASCII")
    return key.decode("ascii")


def _score_there(arguments: argparse.Namespace, pair: Pair) -> Outcome:
    from telelink_score.remote import Gateway, RemoteScoring

    mapping = _mapping(arguments.map)
    # What is wrong with its columns is said at once, not after it was sent.
    with open_parted(pair.customers, pair.format, mapping):
        pass
    key = None if arguments.key_file is None else _key_in(arguments.key_file)
    progress: tqdm[NoReturn] | None = None
    shown = ""

    def told(step: str, done: float, total: float | None) -> None:
        nonlocal progress, shown
        if progress is None or step != shown:
            if progress is not None:
                progress.close()
            unit, shown = " customers" if step == "scored" else "B", step
            progress = tqdm(desc=step, total=total, unit=unit, unit_scale=True, disable=arguments.quiet or None)
        progress.update(done - progress.n)

    try:
        return RemoteScoring(Gateway(arguments.gateway, key), pair, mapping, told).run(keep_job=arguments.keep_job)
    finally:
        if progress is not None:
            progress.close()


def _score(arguments: argparse.Namespace) -> None:
    pairs = pairs_of(arguments.customers, arguments.out, arguments.errors, into=arguments.format)
    if arguments.gateway is not None:
        if any(each is not None for each in (arguments.dask, arguments.high_value_usd, arguments.top_value_usd)):
            raise UsageError(
                "the gateway scores by its own models and limits: leave out what is for scoring without it"
            )
        for pair in pairs:
            _say(pair, _score_there(arguments, pair))
        return
    if arguments.dask is None and len(pairs) == 1:
        _say(pairs[0], _score_here(arguments, pairs[0]))
        return
    tasks = [(_task(arguments, pair), pair.result, pair.errors) for pair in pairs]
    if arguments.dask is None:
        outcomes = score_files(tasks, n_processes=arguments.jobs)
    else:
        from telelink_score.on_dask import score_on_cluster

        outcomes = score_on_cluster(arguments.dask, tasks)
    progress = tqdm(zip(pairs, outcomes, strict=True), total=len(pairs), unit="file", disable=arguments.quiet or None)
    for pair, outcome in progress:
        _say(pair, outcome)


def _say(pair: Pair, outcome: Outcome) -> None:
    tiers = outcome.summary.tiers
    counts = ", ".join(f"{tiers[tier].customers:,} {tier}" for tier in ("High", "Medium", "Low") if tier in tiers)
    at_risk = sum(group.value_at_risk_cents for group in tiers.values()) / 100
    failed = f", {outcome.n_failed:,} not in order" if outcome.n_failed else ""
    where = f" (see {pair.errors})" if outcome.n_failed and pair.errors else ""
    print(f"{pair.result}: {outcome.n_rows:,} customers{failed}{where}; {counts or 'none'}; ${at_risk:,.2f} at risk")


def _explained(error: BadFile) -> str:
    """With the known spellings of columns that are missing."""
    lines = [str(error)]
    if error.code == "column_missing":
        for column in error.columns:
            others = "".join(f", {name}" for name in spellings(column))
            lines.append(f"  {CAMEL[column]} may also be headed {column}{others}")
        lines.append("  capitals, spaces and dots make no difference; --map HEADER=FIELD names any other header")
    return "\n".join(lines)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _usd(text: str) -> float:
    usd = float(text)
    if not (math.isfinite(usd) and usd >= 0):
        raise ValueError
    return usd


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or " " in text:
        raise ValueError
    return text


# What argparse calls them when a value is refused.
_positive.__name__, _usd.__name__, _address.__name__ = "number of processes", "amount", "address"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="telelink", description="TeleLink Customer Analytics for whole files.")
    commands = parser.add_subparsers(dest="command", required=True)
    score = commands.add_parser("score", help="score files of customers: CSV, NDJSON or Parquet, by their names")
    score.add_argument("customers", help="a file; or a folder or a pattern ('*.parquet'), for the files in it")
    score.add_argument(
        "--out", type=Path, required=True, help="the result, in the format of its name; a folder for several"
    )
    score.add_argument("--errors", type=Path, help="what is wrong with which line, as CSV; a folder for several files")
    score.add_argument(
        "--format", choices=("csv", "ndjson", "parquet"), help="of results in a folder (default: as the file)"
    )
    score.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="HEADER=FIELD",
        help="a header of yours and the field it stands for",
    )
    score.add_argument("--quiet", action="store_true", help="no progress bar")
    online = score.add_argument_group("by a running gateway")
    online.add_argument("--gateway", type=_address, metavar="URL", help="its address, as http://localhost:8000")
    online.add_argument("--key-file", type=Path, help="a file that holds an API key, where the gateway wants one")
    online.add_argument("--keep-job", action="store_true", help="leave the job there, for the page to show")
    offline = score.add_argument_group("without a server")
    offline.add_argument(
        "--models",
        nargs=2,
        type=Path,
        metavar=("CHURN", "CLV"),
        default=(_bundled(telelink_churn.__file__), _bundled(telelink_clv.__file__)),
        help="folders of model versions (default: the bundled ones)",
    )
    offline.add_argument(
        "--jobs", type=_positive, default=_n_cores(), metavar="N", help="processes (default: all cores)"
    )
    offline.add_argument("--high-value-usd", type=_usd, metavar="USD", help="from where a customer is of high value")
    offline.add_argument("--top-value-usd", type=_usd, metavar="USD", help="from where a customer is of top value")
    offline.add_argument(
        "--dask", metavar="ADDRESS", help="score the files on a Dask cluster: tcp://HOST:8786, or 'local'"
    )
    score.set_defaults(run=_score)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: 0 when done, 1 when a file, a model or the disk is at fault, 2 for a mistake in it."""
    arguments = _parser().parse_args(argv)
    code = 1
    try:
        arguments.run(arguments)
    except BadFile as error:
        reason = _explained(error)
    except BrokenProcessPool:
        reason = "a process was ended from outside, perhaps for want of memory: try fewer with --jobs"
    except UsageError as error:
        reason, code = str(error), 2
    except (ArtifactError, ClusterError, GatewayError, OSError, UnknownFormat) as error:
        reason = str(error)
    except KeyboardInterrupt:
        print("telelink: interrupted; no result was written half", file=sys.stderr)
        return 130
    else:
        return 0
    print(f"telelink: {reason}", file=sys.stderr)
    return code
