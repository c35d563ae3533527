"""Running a notebook's cells as a notebook does: magics, `await`, `display` and `inspect.getsource` work."""

from __future__ import annotations

import os
import warnings
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

__all__ = ["describe", "make_shell", "run_cell"]


class _Shell(InteractiveShell):
    """A shell that prints no tracebacks, keeps no history, and ends where a notebook's kernel would."""

    def showtraceback(self, *args: Any, **keywords: Any) -> None:
        """Print nothing."""

    def showsyntaxerror(self, *args: Any, **keywords: Any) -> None:
        """Print nothing."""

    def ask_exit(self) -> None:
        """What exit() and quit() do."""
        raise SystemExit

    def system(self, cmd: str) -> None:
        """What a line with `!` does; in a box there is no terminal."""
        self.system_raw(cmd)

    def enable_gui(self, gui: str | None = None) -> None:
        """Do nothing: there is no window."""


def make_shell() -> InteractiveShell:
    """A shell with nothing in it; made once, before the forks, since it takes a while."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.autoawait = True
    config.InteractiveShell.xmode = "Minimal"
    shell = _Shell.instance(config=config)
    shell.user_ns["__name__"] = "__main__"
    return shell


def run_cell(shell: InteractiveShell, source: str) -> BaseException | None:
    """Run a cell, and return the error with which it stopped, if it did."""
    here = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = shell.run_cell(source, store_history=False)
            error = result.error_before_exec or result.error_in_exec
        except BaseException as raised:
            error = raised
    if os.getpid() != here:  # the cell has forked, and this is the child
        os._exit(0)
    return error


def describe(error: BaseException) -> dict[str, Any]:
    """An error in plain values: the name of its kind, its text, and what the judge wants to know of it."""
    try:
        text = " ".join(str(error).split())[:500]
    except BaseException:
        text = ""
    return {
        "error": type(error).__name__[:80],
        "text": text,
        "unwritten": isinstance(error, NotImplementedError),
        "memory": isinstance(error, MemoryError) or "can't allocate memory" in text or "not enough memory" in text,
        "exit": isinstance(error, SystemExit),
        "line": error.lineno if isinstance(error, SyntaxError) and isinstance(error.lineno, int) else None,
        "lacks": str(error.name)[:80] if isinstance(error, ModuleNotFoundError) else None,
    }
