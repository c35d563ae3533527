"""The command line: `python -m nst_helpers CONTENT STYLE -o OUT`, a thin caller of `stylize`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .cli.interrupts import EXIT_CODE, NOTHING_SAVED, Interrupts
from .cli.messages import SafeOutput, drop_unwritten_output, open_closed_streams

__all__ = ["main", "program"]


def main(arguments: Sequence[str] | None = None, *, interrupts: Interrupts | None = None) -> int:
    """Run the command line in this process; returns the exit code, and leaves signal handlers as they were.

    0 is done, 1 saved in another place than asked for, 2 one sentence for what can't be used, 130 interrupted. Usage
    errors and --help raise SystemExit, as argparse does.

    >>> main(["--list-samples"])  # doctest: +ELLIPSIS
    content  ...
    0
    """
    interrupts = interrupts or Interrupts()
    out, err = SafeOutput(sys.stdout), SafeOutput(sys.stderr)
    with interrupts.heard():
        try:
            return _run(sys.argv[1:] if arguments is None else arguments, interrupts, out, err)
        except KeyboardInterrupt:
            err.say(NOTHING_SAVED)
            return EXIT_CODE


def _run(arguments: Sequence[str], interrupts: Interrupts, out: SafeOutput, err: SafeOutput) -> int:
    from .cli.parser import parse

    options = parse(arguments)
    # From here on with torch, which takes seconds to load.
    from .errors import NSTError

    try:
        if options.list_samples:
            from .samples import list_samples

            out.say(*(f"{kind:8} {name}" for kind in ("content", "style") for name in list_samples(kind)))
            return 0
        if options.info:
            from .cli.info import describe

            out.say(*(f"{name + ':':12} {value}" for name, value in describe()))
            return 0
        from .cli.paint import paint

        return paint(options, interrupts, out, err)
    except (NSTError, ValueError, OSError, MemoryError) as error:
        err.say(f"nst_helpers: {error}")
        return 2
    except ImportError as error:  # PyTorch is missing, or there is no room for it under `ulimit -v`
        err.say(f"nst_helpers: a package that is needed can't be loaded ({error}): install it, or give more memory.")
        return 2


def program() -> None:
    """The command as a program of its own: `nst` and `python -m nst_helpers`."""
    open_closed_streams()
    interrupts = Interrupts(exits=True)
    with interrupts.heard():
        try:
            code = main(interrupts=interrupts)
        finally:
            drop_unwritten_output()
    raise SystemExit(code)


if __name__ == "__main__":
    program()
