"""One built course and one judge's boxes for all tests of the classroom kit."""

from __future__ import annotations

from pathlib import Path

import class_of_fifty as fifty
import pytest

from nst_helpers.classroom.boxes import BoxServer
from nst_helpers.classroom.running import stop_judges
from nst_helpers.classroom.sources import Course, build


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """The course as a teacher builds it; a test that changes something takes a copy."""
    root = tmp_path_factory.mktemp("built") / "course"
    build(root)
    yield root
    stop_judges()


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
