"""Many runs at once: a grid of options and pictures, through any `concurrent.futures` executor.

Each cell of the grid is one `stylize`. What goes to an executor and what comes back are plain bytes, so a process pool,
threads and Dask are the same to it. A cell that fails is reported in its place; with a folder, finished cells are kept
and a later sweep takes them from there.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import multiprocessing
import numbers
import os
import pickle
import re
import signal
import sys
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..accel.devices import choose_device, choose_precision
from ..encoders import Encoder, load_encoder
from ..engine.settings import options
from ..engine.values import file_path, whole
from ..errors import NSTError
from ..io.atomic import check_writable
from ..io.sources import shown
from ..optimize import stylize
from .cells import Cell, Job, cell_key, finish, recall, run_job

__all__ = ["Cell", "Sweep", "sweep"]

PICTURES = ("content", "style")
SHARED = ("save_to", "checkpoint")
WORDS = 24  # letters of a value in a label


class Sweep(list[Cell]):
    """The cells in the grid's order."""

    def contact_sheet(self, *, columns: int | None = None, title: str = "") -> Any:
        """All pictures on one figure, each under what sets it apart; a failed cell is grey and says why."""
        from ..figures.draw import pictures

        shape = next((cell.image.shape for cell in self if cell.image is not None), (1, 3, 64, 64))
        shown = {}
        for cell in self:
            words = cell.label if cell.ok else f"{cell.label}\n{cell.stopped}: {cell.error}"
            while words in shown:
                words += " "
            shown[words] = torch.full(shape, 0.85) if cell.image is None else cell.image
        return pictures(shown, columns=columns, title=title)


def sweep(
    grid: Mapping[str, Iterable[Any]],
    executor: Executor | int | None = None,
    *,
    content: Any = None,
    style: Any = None,
    size: int | None = None,
    folder: str | Path | None = None,
    threads: int | None = None,
    **given: Any,
) -> Sweep:
    """Run `stylize` for every combination of the grid's values; returns the cells in the grid's order.

    A key of the grid is an option of `stylize`, "content", "style", "size", or "pair" for (content, style) together;
    its values are a list, or a mapping of names to values for those that have no short name. Pictures are tensors,
    files, or names of the package's own, with `size` as their short side. Whatever else is given goes to every cell.

    `executor` is any of `concurrent.futures`, or Dask's `client.get_executor()`; a number starts that many processes;
    left out, cells run here one after another. `threads` is how many each cell computes with: by default all cores
    shared out among the executor's workers, or one where it doesn't say how many it has.

    The precision "auto" is settled here, once for each encoder, so that cells differ by their settings alone.

    With a `folder`, each finished cell's picture and record are written there, and a later sweep takes them from it
    instead of running the same cell again. Ctrl-C ends the sweep with the cells finished so far.

    A cell whose files can't be written, on a full disk, has its picture and an `error`, and the rest goes on.

    Raises ValueError for a grid or numbers that can't be used, TypeError for an option that `stylize` doesn't have, and
    NSTError for a folder that can't be made or written, or for processes of a script that would run again in each of
    them.

    >>> from nst_helpers.encoders import Architecture
    >>> picture, toy = torch.rand(1, 3, 16, 16), Encoder(Architecture("toy", ((8,), (8,))))
    >>> cells = sweep({"style_weight": [1, 100], "optimizer": ["adam", "best"]}, content=picture, style=picture,
    ...               steps=2, encoder=toy, content_layers=["relu2_1"], style_layers=["relu1_1"], device="cpu")
    >>> for cell in cells:
    ...     print(cell.label, cell.stopped, cell.error[:29], sep=" | ")
    style_weight 1, optimizer adam | finished |
    style_weight 1, optimizer best | failed | optimizer is 'best', which is
    style_weight 100, optimizer adam | finished |
    style_weight 100, optimizer best | failed | optimizer is 'best', which is
    """
    if threads is not None:
        threads = whole("threads", threads, least=1, most=1024, expected="a whole number from 1 to 1024, or None")
    if executor is not None and (isinstance(executor, type) or not hasattr(executor, "submit")):
        executor = whole(
            "executor", executor, least=1, most=1024, expected="an executor, or how many processes to start"
        )
    cells, jobs = _cells(grid, {"content": content, "style": style, "size": size} | given)
    if isinstance(executor, int):
        _check_guard()
    folder = None if folder is None else _make_folder(file_path("folder", folder))
    files = [folder and folder / f"{cell.index:03d}_{cell_key(job)}" for cell, job in zip(cells, jobs, strict=True)]
    left = [i for i, (cell, file) in enumerate(zip(cells, files, strict=True)) if not recall(cell, file)]
    workers = executor if isinstance(executor, int) else getattr(executor, "_max_workers", None)
    if threads is None and executor is not None:
        threads = max(1, _cores() // workers) if workers else 1
    ready, chosen = dict[int, Job](), dict[str, str]()
    for i in left:
        try:
            job = jobs[i] | {"threads": threads, "precision": _precision(jobs[i], chosen)}
            ready[i] = job if executor is None else pickle.dumps(job)
        except Exception as error:
            cells[i].stopped, cells[i].error = "failed", f"its settings can't be sent to a worker: {error}"
    try:
        with contextlib.closing(_outcomes(ready, executor)) as outcomes:
            for i, outcome in outcomes:
                finish(cells[i], outcome, files[i])
                if cells[i].stopped == "interrupted":
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    for cell in cells:
        if not cell.stopped:
            cell.stopped, cell.error = "interrupted", "not run"
    return cells


def _cells(grid: Mapping[str, Iterable[Any]], common: dict[str, Any]) -> tuple[Sweep, list[dict[str, Any]]]:
    axes: dict[str, list[tuple[Any, Any]]] = {}
    if not isinstance(grid, Mapping):
        raise ValueError(f"The grid is a {type(grid).__name__}, expected a mapping of options to lists of values.")
    for key, values in grid.items():
        one = isinstance(values, (str, bytes)) or (isinstance(values, Tensor) and values.ndim != 1)
        if one or not isinstance(values, Iterable):
            raise ValueError(f"The grid's {key} is a {type(values).__name__}, expected a list of values, as [1, 10].")
        named = list(values.items()) if isinstance(values, Mapping) else [(None, v) for v in values]
        axes[key] = [(_word(v, key, n) if name is None else name, v) for n, (name, v) in enumerate(named, 1)]
    known = {*inspect.signature(stylize).parameters, "pair", "size"}
    if stray := sorted(map(str, (axes.keys() | common.keys()) - known)):
        raise TypeError(f"stylize has no option {', '.join(stray)}: a grid's keys are its options, pair and size.")
    if not axes or not all(axes.values()):
        raise ValueError("The grid is empty: give at least one option with at least one value.")
    if shared := [name for name in SHARED if common.get(name) is not None and name not in axes]:
        raise ValueError(f"{shared[0]} would be one file for all cells: give folder= instead, or put it in the grid.")
    cells, jobs = Sweep(), []
    for index, combination in enumerate(itertools.product(*axes.values())):
        words = {key: word for key, (word, _) in zip(axes, combination, strict=True)}
        varying = [f"{key} {word}" for key, word in words.items() if len(axes[key]) > 1]
        job = common | {key: value for key, (_, value) in zip(axes, combination, strict=True)}
        if "pair" in job:
            pair = job.pop("pair")
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise ValueError(f"The grid has a {type(pair).__name__} as a pair, expected (content, style).")
            job["content"], job["style"] = pair
        if job["content"] is None or job["style"] is None:
            raise ValueError("A sweep needs a content and a style: give content= and style=, or put them in the grid.")
        job = {name: _settled(name, value) for name, value in job.items()}
        cells.append(Cell(index, ", ".join(varying) or "the only cell", words))
        jobs.append(job)
    return cells, jobs


def _word(value: Any, key: str, number: int) -> Any:
    """A value as a label has it: numbers and short names as they are, others by name or by their place in the list."""
    if isinstance(value, Tensor) and value.ndim == 0:
        value = value.item()
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    if isinstance(value, numbers.Real):  # one of NumPy's
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    if isinstance(value, Encoder):
        return value.architecture.name
    if isinstance(value, Path) or (isinstance(value, str) and key in PICTURES):
        return Path(value).stem[:WORDS]
    if isinstance(value, str):
        return value[:WORDS]
    if isinstance(value, (list, tuple)) and not any(isinstance(v, Tensor) for v in value):
        return " + ".join(str(_word(v, key, number)) for v in value)
    return f"no. {number}"


def _settled(name: str, value: Any) -> Any:
    """A value in its proper type, so that 100 and 100.0 are one cell; one that can't be used is the cell's to tell."""
    option = options().get(name)
    try:
        return option.check(value) if option else value
    except ValueError:
        return value


def _make_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(folder / "000.png")
    except OSError as error:
        reason = f"can't be made or written ({error.strerror}): choose another place."
        raise NSTError(f"The folder {shown(folder)} {reason}") from None
    return folder


def _check_guard() -> None:
    """Raise NSTError where the new processes would run the whole script again, the sweep included."""
    main = sys.modules.get("__main__")
    script = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is not None or not script or not Path(script).is_file():
        return  # a notebook, a prompt, or a module run with -m
    if not re.search(r"__name__\s*[!=]=\s*[\"']__main__[\"']", Path(script).read_text(errors="replace")):
        raise NSTError(
            f"{Path(script).name} would run again in each of the sweep's processes: put what it does under "
            'if __name__ == "__main__":, or leave the executor out.'
        )


def _precision(job: Mapping[str, Any], chosen: dict[str, str]) -> str:
    """The number format of a cell, where it is "auto": measured here and once, so that all cells compute alike."""
    precision, encoder = job.get("precision", "auto"), job.get("encoder", "mini")
    if precision != "auto":
        return precision
    # Encoders of one shape take the same time, whatever their weights.
    key = (encoder.architecture, encoder.pool) if isinstance(encoder, Encoder) else encoder
    if (key := f"{key} {job.get('device')}") not in chosen:
        try:
            encoder = encoder if isinstance(encoder, Encoder) else load_encoder(encoder)
            dtype = choose_precision(encoder, choose_device(job.get("device")))
        except NSTError:
            return precision  # The cell itself will say what is wrong.
        chosen[key] = str(dtype).removeprefix("torch.")
    return chosen[key]


def _outcomes(ready: Mapping[int, Job], executor: Executor | int | None) -> Generator[tuple[int, bytes | Exception]]:
    """Each cell's outcome as it comes."""
    if executor is None:
        for i, job in ready.items():
            yield i, run_job(job)
    elif not isinstance(executor, int):
        yield from _submitted(ready, executor)
    else:
        lost = []
        for i, outcome in _in_processes(ready, executor):
            if isinstance(outcome, BrokenExecutor):
                lost.append(i)
            else:
                yield i, outcome
        # A process that dies takes the pool and all that waits with it. Those cells get a process of their own each.
        for i in sorted(lost):
            yield from _in_processes({i: ready[i]}, 1)


def _in_processes(ready: Mapping[int, Job], workers: int) -> Iterator[tuple[int, bytes | Exception]]:
    """Each cell's outcome as it comes from processes of our own, none of which outlives an interrupt."""
    with _pool(workers) as pool:
        try:
            yield from _submitted(ready, pool)
        except BaseException:
            # The pool would wait for the cells that run, and for those that it has handed out already.
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise


def _pool(workers: int) -> ProcessPoolExecutor:
    # A process forked from one that has computed with several threads can hang.
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=spawn, initializer=follow_the_parent)


def follow_the_parent() -> None:
    """In a worker: leave Ctrl-C to the process that started it, and end when that one is gone, however it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        if (parent := multiprocessing.parent_process()) is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _submitted(ready: Mapping[int, Job], executor: Executor) -> Iterator[tuple[int, bytes | Exception]]:
    futures: dict[Future, int] = {}
    failed: list[tuple[int, Exception]] = []
    for i, job in ready.items():
        try:
            futures[executor.submit(run_job, job)] = i
        except Exception as error:  # a pool that is broken or shut down takes no more
            failed.append((i, error))
    try:
        yield from failed
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except (Exception, CancelledError) as error:
                yield futures[future], error
    finally:
        for future in futures:
            future.cancel()


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
