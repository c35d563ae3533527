"""One built course and one judge's boxes for all tests of the classroom kit; tests/conftest.py registers this plugin.

Every test process loads it, also where the classroom's packages are missing: they are imported where they are used.
"""

from __future__ import annotations

import contextlib
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


def newest_version() -> str:
    """The version that nbgrader writes into a new database, from alembic in this process."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from nbgrader import api

    with api._temp_alembic_ini("sqlite://") as file:
        return ScriptDirectory.from_config(Config(file)).get_current_head()


@contextlib.contextmanager
def quick_gradebooks() -> Iterator[None]:
    """For each new database nbgrader starts a process that asks alembic for its version, which takes 4 seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nbgrader.api.get_alembic_version", newest_version)
        yield


def built_once(factory: pytest.TempPathFactory, name: str, lessons: str | None) -> Path:
    """A course of these lessons, built once for all the processes that run the tests."""
    from filelock import FileLock

    from nst_helpers.classroom.sources import build

    shared = "PYTEST_XDIST_WORKER" in os.environ
    root = factory.getbasetemp().parent / name if shared else factory.mktemp(name) / name
    with FileLock(f"{root}.lock"), quick_gradebooks():
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
