"""The command line: parses and prints; every step is elsewhere."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from telelink_shared.artifact import ArtifactError
from telelink_training.config import CONFIGS, load_config
from telelink_training.data import DataError, Dataset, load_csv, load_openml, synthetic
from telelink_training.export import ExportError
from telelink_training.releasing import lifetime_values, release_churn, release_clv
from telelink_training.splits import hold_out

_ROOT = Path(__file__).resolve().parents[2]
SYNTHETIC_ROWS = 3_333


def _column_map(pairs: Sequence[str]) -> dict[str, str]:
    mapping = {}
    for pair in pairs:
        header, equals, column = pair.partition("=")
        if not equals or not header or not column:
            raise DataError(f"--column-map takes HEADER=COLUMN, not '{pair}'")
        mapping[header] = column
    return mapping


def _load(source: str, *, column_map: dict[str, str]) -> Dataset:
    if source == "synthetic":
        return synthetic(SYNTHETIC_ROWS)
    if source == "openml":
        return load_openml()
    return load_csv(Path(source), column_map=column_map)


def _train(arguments: argparse.Namespace) -> None:
    column_map = _column_map(arguments.column_map)
    train = _load(arguments.data, column_map=column_map)
    churn_config, clv_config = load_config(CONFIGS / "churn.toml"), load_config(CONFIGS / "clv.toml")
    if arguments.test:
        test = load_csv(Path(arguments.test), column_map=column_map)
    else:
        train, test = hold_out(train, seed=churn_config.seed)
    wanted = ("churn", "clv") if arguments.model == "both" else (arguments.model,)
    # Before anything is trained or written: a file that lacks what either model needs leaves no half of the work.
    values = lifetime_values(train, test, seed=clv_config.seed) if "clv" in wanted else None
    print(f"training on {len(train.frame):,} rows ({train.source}), reporting on {len(test.frame):,}", flush=True)
    if "churn" in wanted:
        folder, report = release_churn(
            train, test, churn_config, search=arguments.search, jobs=arguments.jobs, models_dir=arguments.churn_models
        )
        print(report)
        print(f"churn version {folder.name} written")
    if values is not None:
        folder, report = release_clv(
            train,
            test,
            values,
            clv_config,
            search=arguments.search,
            jobs=arguments.jobs,
            models_dir=arguments.clv_models,
        )
        print(report)
        print(f"clv version {folder.name} written")


def _cores(text: str) -> int:
    cores = int(text)
    if cores == 0:
        raise ValueError
    return cores


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="telelink_training", description="Train the models of TeleLink Customer Analytics."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train, compare, measure and write new model versions")
    train.add_argument(
        "--data", required=True, help="a CSV file, 'openml' (the public data set, downloaded) or 'synthetic'"
    )
    train.add_argument(
        "--test", help="a CSV file of further rows to report on; without it 20 %% of the data are held out"
    )
    train.add_argument("--model", choices=("churn", "clv", "both"), default="both", help="which model (default: both)")
    train.add_argument(
        "--search", choices=("small", "full"), default="small", help="how many settings to try (default: small)"
    )
    train.add_argument("--jobs", type=_cores, default=-1, metavar="CORES", help="cores to use (default: all)")
    train.add_argument(
        "--column-map",
        action="append",
        default=[],
        metavar="HEADER=COLUMN",
        help="a header of yours and the column it stands for",
    )
    train.add_argument(
        "--churn-models", type=Path, default=_ROOT / "churn-service" / "models", help="where churn versions go"
    )
    train.add_argument(
        "--clv-models", type=Path, default=_ROOT / "clv-service" / "models", help="where clv versions go"
    )
    train.set_defaults(run=_train)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: 0 when done, 1 with one line when the data, the export or the disk is at fault."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (DataError, ExportError, ArtifactError, OSError) as error:
        print(f"telelink_training: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("telelink_training: interrupted; nothing was written half", file=sys.stderr)
        return 130
    return 0
