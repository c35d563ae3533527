"""One built course and one judge's boxes for all tests of the classroom kit."""

from __future__ import annotations

import os
from pathlib import Path

import class_of_fifty as fifty
import pytest
from filelock import FileLock

from nst_helpers.classroom.boxes import BoxServer
from nst_helpers.classroom.running import stop_judges
from nst_helpers.classroom.sources import Course, build


def built_once(factory: pytest.TempPathFactory, name: str, lessons: str | None) -> Path:
    """A course of these lessons, built once for all the processes that run the tests."""
    shared = "PYTEST_XDIST_WORKER" in os.environ
    root = factory.getbasetemp().parent / name if shared else factory.mktemp(name) / name
    with FileLock(f"{root}.lock"):
        if not (root / "course.json").exists():
            build(root, lessons=lessons)
    return root


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """The course as a teacher builds it; a test that changes something takes a copy."""
    yield built_once(tmp_path_factory, "course", None)
    stop_judges()


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """A course of two lessons, which are marked in half the time."""
    return built_once(tmp_path_factory, "small", "01,03")


@pytest.fixture(scope="session")
def course(built) -> Course:
    return Course(built)


@pytest.fixture(scope="session")
def writer(course) -> fifty.Writer:
    made = fifty.Writer(course.release, course.source, course.questions)
    made.course = course
    return made


@pytest.fixture(scope="session")
def server() -> BoxServer:
    """Boxes as the system allows them."""
    with BoxServer() as made:
        yield made
