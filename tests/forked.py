"""Processes with PyTorch loaded already: each is forked from a server, which computes nothing and has one thread."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor

__all__ = ["FORKED", "forked_pool", "run_forked"]

FORKED = multiprocessing.get_context("spawn")
if "forkserver" in multiprocessing.get_all_start_methods():
    FORKED = multiprocessing.get_context("forkserver")
    FORKED.set_forkserver_preload(["torch", "nst_helpers.cli.paint", "nst_helpers.sweeps.grid"])


def forked_pool(workers: int = 1) -> ProcessPoolExecutor:
    """New processes that take no seconds to start, unlike those of "spawn"."""
    return ProcessPoolExecutor(workers, mp_context=FORKED)


def run_forked(code: str, *arguments: str) -> str:
    """What the code prints as `python -W error -c CODE ARGUMENTS`; what it raises is raised here too."""
    with forked_pool() as pool:
        return pool.submit(_run, code, arguments).result()


def _run(code: str, arguments: tuple[str, ...]) -> str:
    sys.argv = ["-c", *arguments]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(code, "<forked>", "exec"), {"__name__": "__main__"})
    return printed.getvalue()
