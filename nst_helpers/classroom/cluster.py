"""Sending hand-ins to an existing Dask cluster: the same bundles, the same results, on other machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .questions import ClassroomError
from .running import run_bundle, stop_judges

__all__ = ["PATIENCE", "dask_runner"]

PATIENCE = 10.0  # seconds to wait for a scheduler


def dask_runner(address: str) -> Callable[[dict[str, dict]], Iterator[tuple[str, dict]]]:
    """A runner for `mark`: each thread of a worker has a marking process of its own.

    The proof of the environment (two bundles) is run on every worker, for each has packages of its own. Raises
    ClassroomError where `distributed` is missing or no cluster answers.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise ClassroomError('--dask needs the package distributed: pip install "nst-helpers[dask]".') from None

    def run(bundles: dict[str, dict]) -> Iterator[tuple[str, dict]]:
        try:
            client = Client(address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClassroomError(f"No Dask scheduler answers at {address} ({type(error).__name__}).") from None
        with client:
            workers = list(client.scheduler_info(n_workers=-1)["workers"])
            if not workers:
                raise ClassroomError(f"The Dask cluster at {address} has no workers.")
            everywhere = set(bundles) == {"reference", "blank"}
            waiting: dict[Any, str] = {}
            for student, bundle in bundles.items():
                for worker in workers if everywhere else [None]:
                    place = {"workers": [worker]} if worker else {}
                    future = client.submit(run_bundle, bundle, pure=False, **place)
                    waiting[future] = student
            try:
                for future in as_completed(list(waiting), loop=client.loop):
                    yield waiting[future], _of(future)
            finally:
                if not everywhere:
                    client.run(stop_judges)

    return run


def _of(future: Any) -> dict[str, Any]:
    try:
        return future.result()
    except ClassroomError:
        raise
    except Exception as error:
        raise ClassroomError(
            f"A Dask worker could not mark ({type(error).__name__}: {error}): "
            'it needs the same version of "nst-helpers[classroom]" as this machine.'
        ) from None
