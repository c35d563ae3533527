"""The command line of the classroom kit: `python -m nst_helpers.classroom build DIR` and `... mark DIR SUBMISSIONS`."""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import NSTError
from .questions import DEFAULT_LESSONS, ClassroomError, parse_points

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nst_helpers.classroom", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="build|mark")
    build = commands.add_parser("build", help="make an nbgrader course from the lessons")
    build.add_argument("dir", type=Path, help="the course folder to make")
    build.add_argument("--lessons", default=",".join(DEFAULT_LESSONS), help="two digits each (default: %(default)s)")
    build.add_argument("--points", metavar="NAME=N,...", help="other points, for example gram_matrix=5,written-03=6")
    build.add_argument(
        "--personal", nargs="?", const="", metavar="FILE",
        help="a seed and a pair of pictures for each student; FILE lists ids, one a line, and each gets a folder",
    )  # fmt: skip
    build.add_argument("--notebooks", type=Path, help="the lessons, where this is not a clone of the course")
    build.add_argument("--force", action="store_true", help="build again over an old course; marks are kept")
    mark = commands.add_parser("mark", help="mark a folder or an archive of hand-ins")
    mark.add_argument("dir", type=Path, help="the course folder that build has made")
    mark.add_argument("submissions", type=Path, help="a folder, or a zip or tar archive")
    mark.add_argument("--out", type=Path, help="the table of marks (default: DIR/marks.csv)")
    mark.add_argument("--jobs", type=int, default=os.cpu_count(), help="hand-ins at a time (default: %(default)s)")
    mark.add_argument(
        "--seconds", type=float, default=20, help="of processor time for one question (default: %(default)g)"
    )
    mark.add_argument("--memory", type=float, default=2, metavar="GB", help="for one hand-in (default: %(default)g)")
    mark.add_argument(
        "--again", nargs="*", metavar="STUDENT", help="mark these again, or all where none is named; else marks stay"
    )
    mark.add_argument("--roster", type=Path, metavar="CSV", help="the students of the class, to see who is missing")
    mark.add_argument("--lenient", action="store_true", help="a changed or deleted test cell costs nothing by itself")
    mark.add_argument(
        "--isolation", choices=("auto", "namespaces", "limits"), default="auto",
        help="what surrounds the students' code: namespaces where the system has them, else limits",
    )  # fmt: skip
    mark.add_argument("--dask", metavar="ADDRESS", help="run on a Dask cluster, such as tcp://10.0.0.5:8786")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command: 0 if it is done, 2 with one sentence on bad input, 130 on Ctrl-C (what is marked stays marked)."""
    options = _parser().parse_args(arguments)
    try:
        return _build(options) if options.command == "build" else _mark(options)
    except NSTError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOENT):
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(
            f"{os.strerror(error.errno)}{where}: nothing is lost, run the same command when that is mended.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 130


def _build(options: argparse.Namespace) -> int:
    from .sources import build

    course = build(
        options.dir,
        lessons=options.lessons,
        points=parse_points(options.points),
        students=_students(options.personal),
        notebooks=options.notebooks,
        force=options.force,
    )
    for question in course.questions:
        print(f"{question.name:22} {question.points:g}")
    print(f"{sum(q.points for q in course.questions):g} points in {len(course.notebooks)} notebooks: hand out", end=" ")
    print((course.root / "personal" if options.personal else course.release).as_posix())
    return 0


def _students(personal: str | None) -> list[str] | None:
    if not personal:
        return None if personal is None else []
    path = Path(personal)
    if not path.is_file():
        raise ClassroomError(f"There is no file {path}: --personal takes a list of ids, one a line, or nothing.")
    ids = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if wrong := [one for one in ids if not re.fullmatch(r"[\w.@+ -]+", one) or one.startswith(".")]:
        raise ClassroomError(f"{wrong[0]!r} can't be a student's id, since it has to be a folder's name as well.")
    return ids


def _mark(options: argparse.Namespace) -> int:
    if not hasattr(os, "fork"):
        raise ClassroomError("Marking needs Linux or macOS; on Windows, run it in WSL.")
    from .box.server import Limits
    from .collecting import read_roster
    from .gradebook import by_hand, carry_in
    from .marking import files_of_nobody, mark
    from .reports import write_reports
    from .sources import Course

    if options.jobs < 1 or options.seconds <= 0 or options.memory <= 0:
        raise ClassroomError("--jobs, --seconds and --memory have to be greater than 0.")
    roster = read_roster(options.roster) if options.roster else []
    again = False if options.again is None else set(options.again) or True
    results = mark(
        options.dir,
        options.submissions,
        jobs=options.jobs,
        limits=Limits(seconds=options.seconds, memory=options.memory, total=max(300, 10 * options.seconds)),
        again=again,
        lenient=options.lenient,
        dask=options.dask,
        isolation=options.isolation,
        say=lambda text: print(text, flush=True),
    )
    course, out = Course(options.dir), options.out or options.dir / "marks.csv"
    carry_in(course, results)
    write_reports(
        course.root, out, course.questions, results,
        given=by_hand(course), own=course.personal, loose=files_of_nobody(course), roster=roster,
    )  # fmt: skip
    named = sum(len(result["accidents"]) for result in results)
    print(f"{len(results)} hand-ins, {named} accidents: {out.as_posix()}, {(options.dir / 'report.html').as_posix()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
