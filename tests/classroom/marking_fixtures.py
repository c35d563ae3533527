"""One built course and one judge's boxes for all tests of the classroom kit; tests/conftest.py registers this plugin.

Every test process loads it, also where the classroom's packages are missing: they are imported where they are used.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import class_of_fifty as fifty

    from nst_helpers.classroom.boxes import BoxServer
    from nst_helpers.classroom.sources import Course

NBGRADER = importlib.util.find_spec("nbgrader") is not None  # to import it takes a second in every process


def ask_alembic_once() -> None:
    """For each new database nbgrader starts a process that asks alembic for its version, always the same: 3 seconds."""
    from nbgrader import api

    if not hasattr(api.get_alembic_version, "cache_info"):
        api.get_alembic_version = functools.cache(api.get_alembic_version)


def built_once(factory: pytest.TempPathFactory, name: str, lessons: str | None) -> Path:
    """A course of these lessons, built once for all the processes that run the tests."""
    from filelock import FileLock

    from nst_helpers.classroom.sources import build

    ask_alembic_once()
    shared = "PYTEST_XDIST_WORKER" in os.environ
    root = factory.getbasetemp().parent / name if shared else factory.mktemp(name) / name
    with FileLock(f"{root}.lock"):
        if not (root / "course.json").exists():
            build(root, lessons=lessons)
    return root


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Iterator[Path]:
    """The course as a teacher builds it; a test that changes something takes a copy."""
    from nst_helpers.classroom.running import stop_judges

    yield built_once(tmp_path_factory, "course", None)
    stop_judges()


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """A course of two lessons, which are marked in half the time."""
    return built_once(tmp_path_factory, "small", "01,03")


@pytest.fixture(scope="session")
def course(built) -> Course:
    from nst_helpers.classroom.sources import Course

    return Course(built)


@pytest.fixture(scope="session")
def writer(course) -> fifty.Writer:
    import class_of_fifty as fifty

    made = fifty.Writer(course.release, course.source, course.questions)
    made.course = course
    return made


@pytest.fixture(scope="session")
def server() -> Iterator[BoxServer]:
    """Boxes as the system allows them."""
    from nst_helpers.classroom.boxes import BoxServer

    with BoxServer() as made:
        yield made
