"""The command line: parses and prints; every step is elsewhere."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from threadpoolctl import threadpool_limits

from telelink_shared.artifact import ArtifactError, write_whole
from telelink_shared.cluster import ClusterError, open_cluster
from telelink_training.comparing import compare
from telelink_training.config import CONFIGS, SEARCHES, ConfigError, load_config
from telelink_training.data import CHURN, DataError, Dataset, load_csv, load_openml, must_not_overlap, synthetic
from telelink_training.export import ExportError
from telelink_training.population import write_population
from telelink_training.progress import on_cluster
from telelink_training.published import promote, read_published, rollback
from telelink_training.releasing import lifetime_values, release_churn, release_clv
from telelink_training.report import html_report
from telelink_training.splits import hold_out

_ROOT = Path(__file__).resolve().parents[2]
MODELS = ("churn", "clv")
SYNTHETIC_ROWS = 3_333


def _column_map(arguments: argparse.Namespace) -> dict[str, str]:
    mapping = {}
    for pair in arguments.column_map:
        header, equals, column = pair.partition("=")
        if not equals or not header or not column:
            raise DataError(f"--column-map takes HEADER=COLUMN, not '{pair}'")
        mapping[header] = column
    if arguments.target_column is not None:
        mapping[arguments.target_column] = CHURN
    return mapping


def _load(source: str, arguments: argparse.Namespace) -> Dataset:
    column_map = _column_map(arguments)
    if source == "synthetic":
        return synthetic(SYNTHETIC_ROWS)
    if source == "openml":
        return load_openml()
    return load_csv(Path(source), column_map=column_map)


@contextmanager
def _workers(dask: str | None) -> Iterator[None]:
    """Where the fits of the search run: on the cores of this machine, or on a Dask cluster."""
    if dask is None:
        yield
        return
    with open_cluster(dask), on_cluster():
        yield


def _train(arguments: argparse.Namespace) -> None:
    with _workers(arguments.dask):
        _train_here(arguments)


def _train_here(arguments: argparse.Namespace) -> None:
    train = _load(arguments.data, arguments)
    churn_config, clv_config = (load_config(arguments.configs / f"{model}.toml") for model in MODELS)
    if arguments.test:
        test = load_csv(Path(arguments.test), column_map=_column_map(arguments))
        must_not_overlap(train, test)
    else:
        train, test = hold_out(train, seed=churn_config.seed)
    wanted = MODELS if arguments.model == "both" else (arguments.model,)
    # Before anything is trained or written: a file that lacks what either model needs leaves no half of the work.
    values = lifetime_values(train, test, seed=clv_config.seed) if "clv" in wanted else None
    print(f"training on {len(train.frame):,} rows ({train.source}), reporting on {len(test.frame):,}", flush=True)
    if "churn" in wanted:
        folder, told = release_churn(
            train, test, churn_config, search=arguments.search, jobs=arguments.jobs, models_dir=arguments.churn_models
        )
        print(told)
        print(f"churn version {folder.name} written", flush=True)
    if values is not None:
        folder, told = release_clv(
            train,
            test,
            values,
            clv_config,
            search=arguments.search,
            jobs=arguments.jobs,
            models_dir=arguments.clv_models,
        )
        print(told)
        print(f"clv version {folder.name} written")


def _models_dir(arguments: argparse.Namespace) -> Path:
    default = _ROOT / f"{arguments.model}-service" / "models"
    return default if arguments.models is None else Path(arguments.models)


def _seed(model: str) -> int:
    # One past that of training, as the reported rows of a training have it: simulated values get noise of their own.
    return load_config(CONFIGS / f"{model}.toml").seed + 1


def _compare(arguments: argparse.Namespace) -> None:
    old, new = (
        read_published(_models_dir(arguments), arguments.model, version) for version in (arguments.old, arguments.new)
    )
    print(compare(old, new, _load(arguments.data, arguments), seed=_seed(arguments.model)))


def _report(arguments: argparse.Namespace) -> None:
    model = read_published(_models_dir(arguments), arguments.model, arguments.version)
    report = html_report(model, _load(arguments.data, arguments), seed=_seed(arguments.model))
    write_whole(arguments.output, report)
    print(f"{arguments.output} written")


def _promote(arguments: argparse.Namespace) -> None:
    before = promote(_models_dir(arguments), arguments.model, arguments.version)
    _say_served(arguments.model, arguments.version, before)


def _rollback(arguments: argparse.Namespace) -> None:
    version, before = rollback(_models_dir(arguments), arguments.model)
    _say_served(arguments.model, version, before)


def _say_served(model: str, version: str, before: str | None) -> None:
    was = before or "one that is gone"
    print(
        f"{model}: version {version} is to be served (before: {was}); a service takes it at its next start, or at "
        f"once by POST /v2/repository/models/{model}/load"
    )


def _population(arguments: argparse.Namespace) -> None:
    write_population(arguments.output, arguments.rows, seed=arguments.seed)
    print(f"{arguments.output}: {arguments.rows:,} made-up customers")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _cores(text: str) -> int:
    cores = int(text)
    if cores == 0:
        raise ValueError
    return cores


def _data_options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--data", required=True, help="a CSV file, 'openml' (the public data set, downloaded) or 'synthetic'"
    )
    options.add_argument("--target-column", metavar="HEADER", help="the column that says who left (default: churn)")
    options.add_argument(
        "--column-map",
        action="append",
        default=[],
        metavar="HEADER=COLUMN",
        help="a header of yours and the column it stands for",
    )
    return options


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = commands.add_parser(
        "train", parents=[_data_options()], help="train, compare, measure and write new model versions"
    )
    train.add_argument(
        "--test", help="a CSV file of further rows to report on; without it 20 %% of the data are held out"
    )
    train.add_argument("--model", choices=(*MODELS, "both"), default="both", help="which model (default: both)")
    train.add_argument("--search", choices=SEARCHES, default="small", help="how many settings to try (default: small)")
    train.add_argument(
        "--configs", type=Path, default=CONFIGS, metavar="FOLDER", help="with a churn.toml and a clv.toml of your own"
    )
    train.add_argument("--jobs", type=_cores, default=-1, metavar="CORES", help="cores to use (default: all)")
    train.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="search on a Dask cluster: tcp://HOST:8786, or 'local' for one on this machine",
    )
    for model in MODELS:
        train.add_argument(
            f"--{model}-models",
            type=Path,
            default=_ROOT / f"{model}-service" / "models",
            help=f"where {model} versions go",
        )
    train.set_defaults(run=_train)


def _add_of_versions(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--models", metavar="FOLDER", help="where the model's versions are (default: its service's)")

    comparison = commands.add_parser(
        "compare", parents=[_data_options(), where], help="two versions of a model on the same rows"
    )
    comparison.add_argument("old", metavar="OLD", help="a version")
    comparison.add_argument("new", metavar="NEW", help="another version")
    comparison.add_argument("--model", choices=MODELS, default="churn", help="of which model (default: churn)")
    comparison.set_defaults(run=_compare)

    report = commands.add_parser(
        "report", parents=[_data_options(), where], help="one HTML file with a version's figures and plots"
    )
    report.add_argument("model", choices=MODELS, metavar="NAME")
    report.add_argument("version", metavar="VERSION")
    report.add_argument("--output", type=Path, default=Path("report.html"), help="the file (default: report.html)")
    report.set_defaults(run=_report)

    promotion = commands.add_parser("promote", parents=[where], help="choose the version that services serve")
    promotion.add_argument("model", choices=MODELS, metavar="NAME")
    promotion.add_argument("version", metavar="VERSION")
    promotion.set_defaults(run=_promote)

    back = commands.add_parser("rollback", parents=[where], help="serve the version again that was served before")
    back.add_argument("model", choices=MODELS, metavar="NAME")
    back.set_defaults(run=_rollback)


def _add_population(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    population = commands.add_parser(
        "population", help="write made-up customers with the public data's marginals and churn rules"
    )
    population.add_argument("--rows", type=_positive, default=1_200_000, help="how many (default: 1200000)")
    population.add_argument("--output", type=Path, required=True, help="a CSV file, or NAME.parquet")
    population.add_argument("--seed", type=int, default=0, help="another one makes others (default: 0)")
    population.set_defaults(run=_population)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="telelink_training", description="Train, compare and choose the models of TeleLink Customer Analytics."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_train(commands)
    _add_of_versions(commands)
    _add_population(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: 0 when done, 1 with one line when the data, the export or the disk is at fault."""
    arguments = _parser().parse_args(argv)
    try:
        # Matrices this small lose more by waking the threads of linear algebra than they win: a third of the time.
        with threadpool_limits(limits=1):
            arguments.run(arguments)
    except (ClusterError, ConfigError, DataError, ExportError, ArtifactError, OSError) as error:
        print(f"telelink_training: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("telelink_training: interrupted; nothing was written half", file=sys.stderr)
        return 130
    return 0
