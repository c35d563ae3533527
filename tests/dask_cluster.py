"""A Dask cluster for tests, beside which any number of others can run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import LocalCluster

__all__ = ["dask_cluster"]


@contextlib.contextmanager
def dask_cluster() -> Iterator[LocalCluster]:
    """Its worker is a thread of this process; what the worker gets and gives goes through sockets all the same."""
    from distributed import LocalCluster

    # Without an address the scheduler's page takes port 8787, which one cluster of a machine alone can have.
    page = {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}
    with LocalCluster(protocol="tcp://", n_workers=1, threads_per_worker=1, processes=False, **page) as cluster:
        yield cluster
