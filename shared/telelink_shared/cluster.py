"""A Dask cluster: the one that is named, or the cores of this machine.

Needs the library `distributed`, which is imported only where a cluster is asked for; no serving image has it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from distributed import Client

LOCAL: Final = "local"


class ClusterError(Exception):
    """There is no cluster to work on. The message is one line."""


@contextmanager
def open_cluster(address: str) -> Iterator[Client]:
    """A connection to a cluster.

    Args:
        address: of its scheduler, as `tcp://host:8786`, or `local` for workers on each core of this machine, which end
            with the block.

    Raises:
        ClusterError: the library is missing, or nobody answers there.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ClusterError("--dask needs the library 'distributed': see deploy/dask/README.md") from error
    if address == LOCAL:
        # One thread each: the work holds the interpreter's lock. The library tells of each worker that comes and goes.
        with (
            # The library carries no types for its constructors.
            LocalCluster(  # type: ignore[no-untyped-call]
                threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR
            ) as cluster,
            Client(cluster) as client,  # type: ignore[no-untyped-call]
        ):
            yield client
        return
    try:
        client = Client(address)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ClusterError(f"no Dask scheduler answers at {address}") from error
    with client:
        yield client
