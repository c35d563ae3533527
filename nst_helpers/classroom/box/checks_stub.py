"""The checks of the students' package: where work is marked they say nothing, for the judge has checks of its own."""

from __future__ import annotations

from typing import Any

__all__ = ["CHECKS", "Solution", "Verdict", "checkpoint", "progress", "show_solution"]

CHECKS: dict[str, Any] = {}


class Verdict:
    """What every check gives here."""

    passed, mistake, checks = True, None, 0

    def __init__(self, name: str = "", *_: Any) -> None:
        self.name, self.sentence = name, "this is checked when it is marked."

    def __repr__(self) -> str:
        return self.sentence

    def require(self) -> Verdict:
        """Return itself."""
        return self


Solution = Verdict


def checkpoint(function: Any, name: str | None = None) -> Any:
    """Return the answer as it is."""
    return function


def show_solution(name: str) -> Verdict:
    """Show nothing."""
    return Verdict(name)


def progress() -> Verdict:
    """Say nothing."""
    return Verdict()


def __getattr__(name: str) -> Any:
    if name.startswith("check_"):
        return lambda function=None: Verdict(name.removeprefix("check_"))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
